package checker_test

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/testserver"
)

// cell is one of a sheet that Gnumeric has saved.
type cell struct {
	Row   int    `xml:"Row,attr"`
	Col   int    `xml:"Col,attr"`
	Type  string `xml:"ValueType,attr"` // empty: a formula
	Value string `xml:",chardata"`
}

// sheet is what Gnumeric makes of a CSV file.
func sheet(t *testing.T, text []byte) []cell {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "report.csv"), filepath.Join(dir, "report.xml")
	if err := os.WriteFile(from, text, 0o600); err != nil {
		t.Fatal(err)
	}
	program := testserver.Find(t, "ssconvert")
	cmd := exec.Command(program, "-T", "Gnumeric_XmlIO:sax:0", from, to)
	cmd.Env = []string{"HOME=" + dir, "LC_ALL=C.UTF-8"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	testserver.Took(t, "Gnumeric "+testserver.Version(program, "--version"))
	saved, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	var book struct {
		Cells []cell `xml:"Sheets>Sheet>Cells>Cell"`
	}
	if err := xml.Unmarshal(saved, &book); err != nil {
		t.Fatal(err)
	}
	return book.Cells
}

// A spreadsheet opens the report: each value stands in its cell, and none is a formula.
func TestSpreadsheet(t *testing.T) {
	reports := samples()
	for _, text := range []string{"=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", "two\nlines, \"quoted\" — and ü"} {
		reports = append(reports, &checker.Report{Credential: "a/b/c/d", Type: text})
	}
	var b bytes.Buffer
	if err := checker.WriteCSV(&b, reports); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(b.Bytes())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	texts := 0
	for _, c := range sheet(t, b.Bytes()) {
		if c.Type == "" {
			t.Errorf("row %d, column %d is the formula %q", c.Row, c.Col, c.Value)
		}
		// An apostrophe in front says that a text follows; a number or a date has its own form; XML has one line end.
		if want := strings.ReplaceAll(strings.TrimPrefix(rows[c.Row][c.Col], "'"), "\r", "\n"); c.Type == textCell && c.Value != want {
			t.Errorf("row %d, column %d is %q, want %q", c.Row, c.Col, c.Value, want)
		} else if c.Type == textCell {
			texts++
		}
	}
	if texts < 2*len(rows) {
		t.Errorf("%d cells with text in %d rows", texts, len(rows))
	}
}

// textCell is the type of a cell with text, in Gnumeric's files.
const textCell = "60"
