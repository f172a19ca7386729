package words

import "testing"

func TestFor(t *testing.T) {
	for name, expected := range map[string]string{"": "Good day, world!", "Ada": "Good day, Ada!"} {
		if said := For(name); said != expected {
			t.Errorf("for %q: %s", name, said)
		}
	}
}
