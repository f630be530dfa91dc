package secret

import "math/bits"

// grams is a set of eight bytes each, folded. Most of what is asked for is not in
// it: a bit for each sixteenth of a slot tells that at once.
type grams struct {
	maybe []uint64 // a bit for each hash that something in slots has
	slots []uint64 // each at the place that its hash tells, or behind it; 0: free
	drop  int      // bits of a hash that tell nothing
}

// gramsFor makes an empty set for n grams at most, which takes 20 to 40 bytes for each.
func gramsFor(n int) grams {
	size := max(2, bits.Len(uint(2*n)))
	return grams{make([]uint64, 1<<(size-2)), make([]uint64, 1<<size), 60 - size}
}

func (s grams) hash(g uint64) uint64 { return g * 0x9e3779b97f4a7c15 >> s.drop }

// add adds g, but for eight zero bytes.
func (s grams) add(g uint64) {
	h := s.hash(g)
	s.maybe[h/64] |= 1 << (h % 64)
	*s.slot(h, g) = g
}

func (s grams) has(g uint64) bool {
	h := s.hash(g)
	return s.maybe[h/64]>>(h%64)&1 == 1 && *s.slot(h, g) != 0
}

// slot gives the place of g, or the free one that it would take.
func (s grams) slot(h, g uint64) *uint64 {
	for i := h / 16; ; i++ {
		if at := &s.slots[i%uint64(len(s.slots))]; *at == g || *at == 0 {
			return at
		}
	}
}

// fold gives eight bytes with their letters A to Z in lower case.
func fold(g uint64) uint64 {
	const each = 0x0101010101010101
	low := g &^ (0x80 * each)
	upper := (low + (0x80-'A')*each) &^ (low + (0x7f-'Z')*each) &^ g & (0x80 * each)
	return g | upper>>2
}
