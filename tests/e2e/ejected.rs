//! Holds what `kiln plan --eject` writes against what the preset makes.

use crate::presets::output;
use crate::readback;
use crate::space::{Ran, TestSpace};

/// Fails unless the Dockerfile that a preset writes for the project in `space` makes an image of the same files as `image`,
/// which `options` and `more` made, and it prints the same when it is started with `args`. Only `more` is needed with a
/// Dockerfile too, such as secrets. The Dockerfile stays, and wins from then on.
#[track_caller]
pub(crate) fn same_when_ejected(
    space: &TestSpace,
    image: &str,
    options: &[&str],
    more: &[&str],
    args: &[&str],
) {
    ejected(space, image, options, more);
    assert_eq!(output(space, "ejected", args), output(space, image, args));
}

/// As [`same_when_ejected`], without starting anything: builds the Dockerfile as the image `ejected`.
#[track_caller]
pub(crate) fn ejected(space: &TestSpace, image: &str, options: &[&str], more: &[&str]) -> Ran {
    let context = space.context();
    let context = context.to_str().expect("the context has a name in UTF-8");
    space.kiln(&[&["plan", "--eject"], options, more, &[context]].concat()).ok();
    let built = space.build(&[more, &["-t", "ejected"]].concat()).ok();
    assert!(built.steps().has("COPY --from=build"), "it is the Dockerfile that was built\n{built}");
    let (theirs, ours) = (readback::image(space, "ejected"), readback::image(space, image));
    assert_eq!(theirs.files(), ours.files());
    for (path, ours) in &ours.tree {
        let theirs = theirs.entry(path);
        assert_eq!((theirs.mode, theirs.uid, theirs.gid), (ours.mode, ours.uid, ours.gid), "{path}");
    }
    for key in ["User", "WorkingDir", "Entrypoint", "Cmd"] {
        assert_eq!(theirs.config["config"][key], ours.config["config"][key], "{key}");
    }
    built
}
