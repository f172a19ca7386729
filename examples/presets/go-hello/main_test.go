package main

import "testing"

func TestGreetingNamesWhoIsNamed(t *testing.T) {
	for _, test := range []struct {
		names []string
		want  string
	}{
		{nil, "Hello from Go!"},
		{[]string{"kiln"}, "Hello, kiln!"},
	} {
		if got := greeting(test.names); got != test.want {
			t.Errorf("greeting(%q) = %q, want %q", test.names, got, test.want)
		}
	}
}
