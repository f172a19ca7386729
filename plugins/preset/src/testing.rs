//! Requests for tests.

use kiln_sdk::wit::frontend_types::BuildRequest;
use kiln_sdk::wit::types::Platform;

/// For the machine that builds, with nothing said.
pub(crate) fn request() -> BuildRequest {
    BuildRequest {
        file: String::new(),
        target: String::new(),
        platforms: Vec::new(),
        build_platform: Platform::default(),
        build_args: Vec::new(),
        labels: Vec::new(),
        options: Vec::new(),
        no_cache: Vec::new(),
        secret_ids: Vec::new(),
        ssh_ids: Vec::new(),
    }
}
