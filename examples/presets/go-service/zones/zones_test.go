package zones

import (
	"errors"
	"testing"
	"time"
)

func TestInFollowsTheRulesOfTheZone(t *testing.T) {
	moment := time.Date(2024, time.July, 1, 12, 0, 0, 0, time.UTC)
	for zone, want := range map[string]string{
		"":              "2024-07-01 12:00 UTC",
		"Europe/Berlin": "2024-07-01 14:00 CEST",
		"Europe/Kiev":   "2024-07-01 15:00 EEST",
	} {
		if got, err := In(zone, moment); err != nil || got != want {
			t.Errorf("In(%q) = %q, %v, want %q", zone, got, err, want)
		}
	}
	if _, err := In("Nowhere/Land", moment); !errors.Is(err, ErrUnknown) {
		t.Errorf("In of an unknown zone: %v", err)
	}
}
