//! References (§10.2) and platforms (§10.3): what was read and is written out reads as the same.

use crate::platform;
use crate::reference::Reference;
use kiln_sdk::wit::types::Platform;
use proptest::prelude::*;

use super::texts::word;

fn component() -> impl Strategy<Value = String> {
    "[a-z0-9]{1,3}(([._]|__|-{1,2})[a-z0-9]{1,3}){0,2}"
}

fn domain() -> impl Strategy<Value = String> {
    prop_oneof![
        "localhost(:[0-9]{1,5})?",
        "[a-z0-9]{1,4}\\.[a-z]{2,3}(:[0-9]{1,5})?",
        "\\[[0-9a-f]{1,4}:[0-9a-f:]{1,5}\\](:[0-9]{1,5})?",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_well_formed_reference_keeps_its_parts(
        domain in prop::option::of(domain()),
        path in prop::collection::vec(component(), 1..4),
        tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}"),
        digest in prop::option::of("sha256:[0-9a-f]{64}"),
    ) {
        let path = path.join("/");
        // The first component may look like a registry, or all of it like an id.
        prop_assume!(domain.is_some() || !path.split('/').next().unwrap().contains('.') || !path.contains('/'));
        prop_assume!(domain.is_some() || !path.starts_with("localhost/"));
        let mut text = domain.iter().fold(path.clone(), |path, domain| format!("{domain}/{path}"));
        text.extend(tag.iter().map(|tag| format!(":{tag}")));
        text.extend(digest.iter().map(|digest| format!("@{digest}")));
        let read = Reference::read(&text).map_err(TestCaseError::fail)?;
        let full = match domain {
            Some(domain) => format!("{domain}/{path}"),
            None if path.contains('/') => format!("docker.io/{path}"),
            None => format!("docker.io/library/{path}"),
        };
        prop_assert_eq!(&read.name, &full);
        prop_assert_eq!(&read.digest, &digest);
        let default = digest.is_none().then(|| "latest".to_owned());
        prop_assert_eq!(&read.tag, &tag.or(default));
        prop_assert_eq!(Reference::read(&read.to_string()), Ok(read));
    }

    #[test]
    fn whatever_is_read_as_a_reference_is_read_again(text in word("aB0.:/@-_[]é ", 12)) {
        if let Ok(read) = Reference::read(&text) {
            prop_assert!(read.name.len() <= 255);
            prop_assert_eq!(Reference::read(&read.to_string()), Ok(read), "{}", text);
        }
    }

    #[test]
    fn whatever_is_read_as_a_platform_is_read_again(
        text in prop_oneof![
            word("aAmd64linux/()._-é ", 14),
            "(linux|windows|Darwin|macos)(\\(10\\.0\\))?/(amd64|x86_64|arm|armhf|aarch64|i386|riscv64)(/(v?[5-8]|v1))?",
        ],
    ) {
        let default = Platform { os: "linux".to_owned(), arch: "amd64".to_owned(), ..Platform::default() };
        if let Some(read) = platform::read(&text, &default) {
            let again = platform::read(&platform::format(&read), &default);
            prop_assert_eq!(again, Some(Platform { os_version: String::new(), ..read }), "{}", text);
        }
    }
}
