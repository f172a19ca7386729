//! The findings of this library, for the list in a preset's `describe`.

use kiln_sdk::wit::describe::Rule;

/// One rule for each code that is used here, those of the closure included.
pub fn rules() -> Vec<Rule> {
    let own = [
        Rule::error("bad-option", "an option with a value that means nothing"),
        Rule::error("bad-epoch", "a SOURCE_DATE_EPOCH that is no time"),
        Rule::error("eject-line-break", "a value that a Dockerfile has no way to say"),
        Rule::error("builder-empty", "a builder image without files"),
        Rule::error("builder-unusable", "a builder image that cannot run a shell"),
        Rule::error("cannot-install", "a Debian package that the builder does not get"),
        Rule::error("image-not-found", "an image that does not exist"),
        Rule::error("image-platform", "an image that is not there for the platform"),
        Rule::error("image-unavailable", "an image that cannot be looked up"),
        Rule::error("missing-tool", "a builder image without a tool that the build needs"),
        Rule::error("unknown-target", "a target, where there is one image"),
        Rule::warning("no-certificates", "an image that trusts no server"),
        Rule::warning("no-zoneinfo", "an image that knows one time zone only"),
        Rule::warning("zoneinfo-backward", "an image that knows time zones by their new names only"),
        Rule::warning("unused-option", "an option that changes nothing"),
        Rule::warning("unused-build-arg", "a build argument that means nothing"),
    ];
    let closure = kiln_closure::RULES.iter().map(|(code, summary, is_error)| {
        if *is_error { Rule::error(code, summary) } else { Rule::warning(code, summary) }
    });
    own.into_iter().chain(closure).collect()
}
