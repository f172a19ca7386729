//! What dpkg and scanners read: `/var/lib/dpkg/status`.

use crate::control;
use crate::index::Package;

/// Fields of a list that say where a package is fetched, and not what it is.
const ELSEWHERE: [&str; 8] =
    ["Filename", "Size", "MD5sum", "SHA1", "SHA256", "SHA512", "Description-md5", "Status"];

/// The paragraph of a package whose files are there. `unpacked`: its scripts are still to run.
pub fn paragraph(package: &Package<'_>, unpacked: bool) -> String {
    let state = if unpacked { "unpacked" } else { "installed" };
    let mut text = format!("Package: {}\nStatus: install ok {state}\n", package.name);
    for (field, value) in control::fields(package.stanza) {
        let elsewhere = ELSEWHERE.iter().any(|known| known.eq_ignore_ascii_case(field));
        if !elsewhere && !field.eq_ignore_ascii_case("Package") {
            let blank = if value.is_empty() || value.starts_with('\n') { "" } else { " " };
            text += &format!("{field}:{blank}{value}\n");
        }
    }
    text
}

/// What files of a package are called in `/var/lib/dpkg/info`, by its paragraph.
pub fn info_name(paragraph: &str) -> Option<String> {
    let name = control::field(paragraph, "Package")?;
    Some(match (control::field(paragraph, "Multi-Arch"), control::field(paragraph, "Architecture")) {
        (Some("same"), Some(architecture)) => format!("{name}:{architecture}"),
        _ => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;

    #[test]
    fn a_paragraph_says_what_a_package_is_and_not_where_it_came_from() {
        let list = "Package: libc6\nVersion: 2\nArchitecture: amd64\nMulti-Arch: same\nFilename: pool/x\nSHA256: 00\nDescription: short\n long\n";
        let index = Index::new([(0, list)], "amd64").unwrap();
        let text = paragraph(index.all()[0], false);
        assert_eq!(
            text,
            "Package: libc6\nStatus: install ok installed\nVersion: 2\nArchitecture: amd64\nMulti-Arch: same\nDescription: short\n long\n"
        );
        assert_eq!(info_name(&text).as_deref(), Some("libc6:amd64"));
        assert!(paragraph(index.all()[0], true).contains("install ok unpacked"));
    }
}
