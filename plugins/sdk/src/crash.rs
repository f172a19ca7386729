//! Last words: hands the message of a panic to the host before the component traps.

use std::sync::Once;

use crate::wit::progress;

static INSTALLED: Once = Once::new();

/// Makes a panic tell the host what it would have printed. A component has no stderr, so without this the user
/// reads of an `unreachable` and nothing else. The macros of this crate call it at each entry.
pub fn install() {
    INSTALLED.call_once(|| std::panic::set_hook(Box::new(|panic| progress::crash(&panic.to_string()))));
}
