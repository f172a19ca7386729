//! What is said of an entry in blocks before its own: PAX records, GNU long names.

use kiln_core::tree::{Time, Xattrs};

use super::{is_overlay_xattr, pax, sparse};

/// Metadata that precedes an entry in blocks of its own.
#[derive(Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) xattrs: Xattrs,
    pub(super) sparse: sparse::Records,
}

impl Extended {
    /// Takes one record of a PAX header. Records that say nothing kiln keeps are left alone.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = || pax::decimal(value).ok_or("a number in its extended header is none");
        // An empty value takes a record back (POSIX), but an attribute may well be empty.
        let given = !value.is_empty();
        match key {
            b"path" => self.path = given.then(|| value.to_vec()),
            b"linkpath" => self.link = given.then(|| value.to_vec()),
            b"size" => self.size = given.then(number).transpose()?,
            b"uid" => self.uid = given.then(number).transpose()?,
            b"gid" => self.gid = given.then(number).transpose()?,
            b"SCHILY.devmajor" => self.major = given.then(number).transpose()?,
            b"SCHILY.devminor" => self.minor = given.then(number).transpose()?,
            b"mtime" => {
                let time = || pax::time(value).ok_or("its modification time is none");
                self.mtime = given.then(time).transpose()?;
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() || name.contains(&0) {
                        return Err("the name of an attribute is empty or has a zero byte in it");
                    }
                    if !is_overlay_xattr(name) {
                        self.xattrs.retain(|(known, _)| **known != *name);
                        self.xattrs.push((name.into(), value.into()));
                    }
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.add(key, value)?;
                }
            }
        }
        Ok(())
    }
}
