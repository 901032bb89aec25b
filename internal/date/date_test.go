package date

import "testing"

func TestParse(t *testing.T) {
	t.Parallel()
	for in, ok := range map[string]bool{
		"2026-03-01": true, "0001-01-01": true, "9999-12-31": true,
		"0000-01-01": false, "0000-12-31": false, "2026-02-30": false, "2026-3-1": false, "": false, "10000-01-01": false,
	} {
		if d, err := Parse(in); (err == nil) != ok || ok && d.String() != in {
			t.Errorf("Parse(%q) = %s, %v", in, d, err)
		}
	}
}
