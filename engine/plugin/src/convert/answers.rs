//! What the host tells components.

use kiln_core::Platform;
use kiln_core::seams::{ContextInfo, FileInfo, FileKind, GitInfo, HostError, HttpInfo, ImageInfo};

use super::{config, told_pairs};
use crate::bindings::wit::{source_types, types as wit};

pub(crate) fn host_error(error: HostError) -> wit::HostError {
    wit::HostError { code: error.code.to_owned(), message: error.message }
}

pub(crate) fn platform(platform: &Platform) -> wit::Platform {
    wit::Platform {
        os: platform.os.clone(),
        arch: platform.arch.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
    }
}

pub(crate) fn file_info(info: FileInfo) -> wit::FileInfo {
    wit::FileInfo {
        path: info.path,
        kind: match info.kind {
            FileKind::Regular => wit::FileKind::Regular,
            FileKind::Directory => wit::FileKind::Directory,
            FileKind::Symlink => wit::FileKind::Symlink,
            FileKind::CharacterDevice => wit::FileKind::CharacterDevice,
            FileKind::BlockDevice => wit::FileKind::BlockDevice,
            FileKind::Fifo => wit::FileKind::Fifo,
            FileKind::Socket => wit::FileKind::Socket,
        },
        size: info.size,
        mode: info.mode,
        uid: info.uid,
        gid: info.gid,
        target: info.target,
    }
}

pub(crate) fn image_info(info: ImageInfo) -> source_types::ImageInfo {
    source_types::ImageInfo {
        reference: info.reference,
        manifest: info.manifest.to_string(),
        index: info.index.map(|digest| digest.to_string()),
        platform: platform(&info.platform),
        config: config::tell(info.config),
        layers: info.layers,
        compressed_size: info.compressed_size,
        created: info.created,
        annotations: told_pairs(&info.annotations),
    }
}

pub(crate) fn git_info(info: GitInfo) -> source_types::GitInfo {
    source_types::GitInfo { reference: info.reference, commit: info.commit, modified: info.modified }
}

pub(crate) fn http_info(info: HttpInfo) -> source_types::HttpInfo {
    source_types::HttpInfo {
        checksum: info.checksum,
        filename: info.filename,
        size: info.size,
        modified: info.modified,
    }
}

pub(crate) fn context_info(info: ContextInfo) -> source_types::ContextInfo {
    source_types::ContextInfo {
        name: info.name,
        kind: info.kind,
        location: info.location,
        image: info.image.map(image_info),
        modified: info.modified,
    }
}
