// Package words knows what to say.
package words

// Set by the linker.
var (
	Version = "unknown"
	Channel = "unknown"
)

// For gives the salutation for a name.
func For(name string) string {
	if name == "" {
		name = "world"
	}
	return "Good day, " + name + "!"
}
