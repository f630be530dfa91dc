package credential

// Text gives the value of a field that is no secret by its use: what stands in
// the url of a record, or fills a {field} of a provider's hosts and URLs. It is
// for nothing else.
func (c *Credential) Text(field string) string { return c.Fields[field].Reveal() }
