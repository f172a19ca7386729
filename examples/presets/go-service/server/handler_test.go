package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestHandlerAnswers(t *testing.T) {
	noon := func() time.Time { return time.Date(2024, time.July, 1, 12, 0, 0, 0, time.UTC) }
	for _, test := range []struct {
		path   string
		status int
		body   string
	}{
		{"/", http.StatusOK, "World clock"},
		{"/time?zone=Europe/Kiev", http.StatusOK, "2024-07-01 15:00 EEST"},
		{"/time?zone=Nowhere", http.StatusNotFound, "unknown time zone: Nowhere"},
		{"/elsewhere", http.StatusNotFound, "not found"},
	} {
		answer := httptest.NewRecorder()
		handler(noon).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, test.path, nil))
		if answer.Code != test.status || !strings.Contains(answer.Body.String(), test.body) {
			t.Errorf("%s: %d %q, want %d %q", test.path, answer.Code, answer.Body, test.status, test.body)
		}
	}
}
