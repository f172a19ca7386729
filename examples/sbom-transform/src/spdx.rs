//! The document: SPDX 2.3 as JSON.

use kiln_sdk::wit::policy_types::ImageFacts;
use serde_json::{Value, json};

use crate::packages::Package;

const NONE: &str = "NOASSERTION";

/// The document about an image, or about the filesystem `scan` that was used to make it. Members are sorted, and nothing
/// in it depends on anything but its arguments.
pub(crate) fn document(
    packages: &[Package],
    image: &ImageFacts,
    scan: Option<&str>,
    created: &str,
) -> String {
    let mut parts: Vec<&str> = image.layers.iter().map(|layer| layer.digest.as_str()).collect();
    parts.extend(scan);
    let unique = fingerprint(packages, &parts);
    let platform = format!("{}/{}", image.platform.os, image.platform.arch);
    let (purpose, name, comment) = match scan {
        None => ("CONTAINER", "image".to_owned(), format!("a container image for {platform}")),
        Some(scan) => {
            ("OTHER", scan.to_owned(), format!("what a container image for {platform} was made with"))
        }
    };
    let whole = json!({
        "SPDXID": "SPDXRef-Image",
        "name": name,
        "downloadLocation": NONE,
        "filesAnalyzed": false,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "primaryPackagePurpose": purpose,
        "comment": comment,
    });
    let mut all = vec![whole];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image")];
    for (number, package) in packages.iter().enumerate() {
        let id = identifier(number, package);
        relationships.push(relationship("SPDXRef-Image", "CONTAINS", &id));
        let mut entry = json!({
            "SPDXID": id,
            "name": package.name,
            "downloadLocation": NONE,
            "filesAnalyzed": false,
            "licenseConcluded": NONE,
            "licenseDeclared": NONE,
            "copyrightText": NONE,
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": package.purl,
            }],
        });
        if !package.version.is_empty() {
            entry["versionInfo"] = json!(package.version);
        }
        if !package.license.is_empty() {
            // Not an expression of SPDX for sure, so not where one has to be.
            entry["licenseComments"] = json!(format!("the package says: {}", package.license));
        }
        all.push(entry);
    }
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{name} for {platform}"),
        "documentNamespace": format!("https://spdx.org/spdxdocs/kiln-sbom-{unique}"),
        "creationInfo": {
            "created": created,
            "creators": [concat!("Tool: kiln-sbom-", env!("CARGO_PKG_VERSION"))],
        },
        "packages": all,
        "relationships": relationships,
    });
    format!("{document:#}\n")
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// Letters, digits, dots and hyphens; the number makes it unlike all others.
fn identifier(number: usize, package: &Package) -> String {
    let name: String =
        package.name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    format!("SPDXRef-Package-{number}-{name}")
}

/// 128 bits by two runs of FNV-1a, so that documents about different images have different names.
fn fingerprint(packages: &[Package], parts: &[&str]) -> String {
    let run = |mut state: u64| {
        let texts = packages.iter().map(|package| package.purl.as_str()).chain(parts.iter().copied());
        for byte in texts.flat_map(|text| text.bytes().chain([0])) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        state
    };
    format!("{:016x}{:016x}", run(0xcbf2_9ce4_8422_2325), run(0x6c62_272e_07bb_0142))
}
