// Package zones says what time it is elsewhere.
package zones

import (
	"errors"
	"fmt"
	"time"
)

// ErrUnknown is returned for a zone that the time zone database does not have.
var ErrUnknown = errors.New("unknown time zone")

// In returns t as a clock in the zone shows it. An empty zone is UTC.
func In(zone string, t time.Time) (string, error) {
	location, err := time.LoadLocation(zone)
	if err != nil {
		return "", fmt.Errorf("%w: %s", ErrUnknown, zone)
	}
	return t.In(location).Format("2006-01-02 15:04 MST"), nil
}
