use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::Command;

use kiln_core::digest::DiffId;
use kiln_core::tree::{Content, Entry, Kind, Place, TreePath};
use kiln_core::{ImageConfig, Platform};

use super::*;
use crate::blob::{BlobPipe, Compress};
use crate::document::{
    Descriptor, History, ImageDocument, Index, Manifest, NewConfig, REF_NAME, config_json, media_type,
};
use crate::layer::{LayerWriter, Times};

/// One image with one layer, as bytes.
struct Sample {
    layer: (Vec<u8>, Descriptor),
    config: (Vec<u8>, Descriptor),
    manifest: (Vec<u8>, Descriptor),
}

const TAG: &str = "1.0";

fn sample(compress: Compress) -> Sample {
    let mut pipe = BlobPipe::new(Vec::new(), compress, NonZero::<usize>::MIN).unwrap();
    write_layer(&mut pipe);
    let (bytes, result) = pipe.finish().unwrap();
    let layer = Descriptor::new(result.media_type, result.digest, result.size);
    let (config, manifest) = documents(result.diff_id, layer.clone());
    Sample { layer: (bytes, layer), config, manifest }
}

fn documents(diff_id: DiffId, layer: Descriptor) -> ((Vec<u8>, Descriptor), (Vec<u8>, Descriptor)) {
    let platform = Platform::new("linux", "amd64", "");
    let config = config_json(&NewConfig {
        platform: &platform,
        config: &ImageConfig { cmd: Some(vec!["/bin/hello".to_owned()]), ..ImageConfig::default() },
        created: None,
        history: &[History { created_by: "COPY hello /bin/".to_owned(), ..History::default() }],
        diff_ids: &[diff_id],
    })
    .unwrap();
    let config_descriptor = Descriptor::of(media_type::OCI_CONFIG, &config);
    let manifest = Manifest::new(config_descriptor.clone(), vec![layer]).to_json();
    let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &manifest)
        .with_platform(platform)
        .with_annotation(REF_NAME, TAG);
    ((config, config_descriptor), (manifest, descriptor))
}

fn write_layer(to: &mut dyn Write) {
    let file = |content: &[u8]| Entry {
        kind: Kind::File(kiln_core::tree::File {
            size: content.len() as u64,
            content: Content { digest: None, place: Place::Inline(content.into()) },
        }),
        ..Entry::directory()
    };
    let mut writer = LayerWriter::new(to, Times::Epoch(1_700_000_000));
    for (path, entry) in [
        ("bin", Entry::directory()),
        ("bin/hello", file(b"hello, world")),
        ("bin/hi", Entry { kind: Kind::Link(TreePath::parse("bin/hello").unwrap()), ..Entry::directory() }),
        ("big", file(&[7; 300_000])),
    ]
    .into_iter()
    .collect::<std::collections::BTreeMap<_, _>>()
    {
        writer.append(&TreePath::parse(path).unwrap(), &entry, None).unwrap();
    }
    writer.finish().unwrap();
}

fn write_directory(sample: &Sample, path: &Path) {
    let writer = LayoutWriter::create(path).unwrap();
    for (bytes, blob) in [&sample.layer, &sample.config, &sample.manifest] {
        writer.add_blob(blob, &mut &bytes[..]).unwrap();
    }
    let mut index = writer.index().unwrap().unwrap_or_else(|| Index::new(Vec::new()));
    index.put(sample.manifest.1.clone());
    writer.finish(&index).unwrap();
}

fn write_archive(sample: &Sample, docker: bool) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new()).unwrap();
    for (bytes, blob) in [&sample.layer, &sample.config, &sample.manifest, &sample.config] {
        writer.add_blob(blob, &mut &bytes[..]).unwrap();
    }
    let index = Index::new(vec![sample.manifest.1.clone()]);
    let image = DockerImage {
        config: sample.config.1.digest,
        layers: vec![sample.layer.1.digest],
        repo_tags: vec!["hello:1.0".to_owned()],
    };
    let done = if docker { writer.finish_for_docker(&index, &[image]) } else { writer.finish(&index) };
    done.unwrap()
}

fn check(reader: &LayoutReader, name: Option<&str>) -> Manifest {
    let entry = reader.find(name).unwrap();
    let manifest = Manifest::parse(&reader.document(entry).unwrap(), Some(media_type::OCI_MANIFEST)).unwrap();
    manifest.check_is_image().unwrap();
    let config = ImageDocument::parse(&reader.document(&manifest.config).unwrap()).unwrap();
    assert_eq!(config.config.cmd.unwrap(), ["/bin/hello"]);
    let (_, mut layer) = crate::decompress_any(reader.blob(&manifest.layers[0]).unwrap()).unwrap();
    let mut bytes = Vec::new();
    layer.read_to_end(&mut bytes).unwrap();
    assert_eq!(DiffId(kiln_core::Digest::of(&bytes)), config.diff_ids[0]);
    let mut expected = Vec::new();
    write_layer(&mut expected);
    assert!(bytes == expected);
    manifest
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("this test needs `{program}`: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_directory_is_read_back_by_kiln_skopeo_and_umoci() {
    for compress in [Compress::None, Compress::GZIP, Compress::ZSTD] {
        let space = tempfile::tempdir().unwrap();
        let layout = space.path().join("deep/layout");
        let sample = sample(compress);
        write_directory(&sample, &layout);
        let reader = LayoutReader::open(&layout, space.path()).unwrap();
        let manifest = check(&reader, Some(TAG));
        assert_eq!(manifest, check(&reader, None));
        assert_eq!(manifest, check(&reader, Some(&sample.manifest.1.digest.to_string())));

        let image = format!("oci:{}:{TAG}", text(&layout));
        let seen = run("skopeo", &["inspect", "--config", &image]);
        assert!(seen.contains("/bin/hello"), "{seen}");
        if compress == Compress::ZSTD {
            // Debian's umoci knows no zstd; the program of that name does.
            let blob = layout.join(blob_path(&sample.layer.1.digest));
            let unpacked = space.path().join("layer.tar");
            run("zstd", &["-q", "-d", text(&blob), "-o", text(&unpacked)]);
            let mut expected = Vec::new();
            write_layer(&mut expected);
            assert!(std::fs::read(&unpacked).unwrap() == expected);
            continue;
        }
        let bundle = space.path().join("bundle");
        run(
            "umoci",
            &["unpack", "--rootless", "--image", &format!("{}:{TAG}", text(&layout)), text(&bundle)],
        );
        let hi = std::fs::read_to_string(bundle.join("rootfs/bin/hi")).unwrap();
        assert_eq!(hi, "hello, world");
    }
}

#[test]
fn archives_are_read_back_by_kiln_and_skopeo() {
    let space = tempfile::tempdir().unwrap();
    for (compress, docker) in [(Compress::None, false), (Compress::GZIP, true), (Compress::None, true)] {
        let sample = sample(compress);
        let bytes = write_archive(&sample, docker);
        assert!(bytes == write_archive(&sample, docker));
        let path = space.path().join("image.tar");
        std::fs::write(&path, &bytes).unwrap();
        check(&LayoutReader::open(&path, space.path()).unwrap(), Some(TAG));
        let mut sources = vec![format!("oci-archive:{}:{TAG}", text(&path))];
        if docker {
            sources.push(format!("docker-archive:{}:hello:1.0", text(&path)));
        }
        for source in sources {
            let copy = space.path().join("copy");
            run("skopeo", &["copy", &source, &format!("oci:{}:x", text(&copy))]);
            check(&LayoutReader::open(&copy, space.path()).unwrap(), Some("x"));
            std::fs::remove_dir_all(copy).unwrap();
        }
    }
}

#[test]
fn a_layer_may_go_straight_into_an_archive() {
    let space = tempfile::tempdir().unwrap();
    let path = space.path().join("image.tar");
    let mut writer = ArchiveWriter::new(File::create(&path).unwrap()).unwrap();
    let slot = writer.begin_blob().unwrap();
    let mut pipe = BlobPipe::new(slot, Compress::None, NonZero::<usize>::MIN).unwrap();
    write_layer(&mut pipe);
    let (slot, result) = pipe.finish().unwrap();
    slot.finish(result.digest).unwrap();
    let layer = Descriptor::new(result.media_type, result.digest, result.size);
    let (config, manifest) = documents(result.diff_id, layer);
    for (bytes, blob) in [&config, &manifest] {
        writer.add_blob(blob, &mut &bytes[..]).unwrap();
    }
    writer.finish(&Index::new(vec![manifest.1])).unwrap();
    check(&LayoutReader::open(&path, space.path()).unwrap(), None);
    // The same bytes as when everything is known beforehand.
    assert!(std::fs::read(&path).unwrap() == write_archive(&sample(Compress::None), false));
}

#[test]
fn what_other_programs_save_is_read() {
    let space = tempfile::tempdir().unwrap();
    let layout = space.path().join("layout");
    write_directory(&sample(Compress::GZIP), &layout);
    let source = format!("oci:{}:{TAG}", text(&layout));
    let docker = space.path().join("docker.tar");
    run("skopeo", &["copy", &source, &format!("docker-archive:{}:hello:latest", text(&docker))]);
    let reader = LayoutReader::open(&docker, space.path()).unwrap();
    for name in [None, Some("hello:latest"), Some("hello"), Some("docker.io/library/hello")] {
        check(&reader, name);
    }
    let error = reader.find(Some("other")).unwrap_err().to_string();
    assert!(error.contains("`other`") && error.contains("hello:latest"), "{error}");

    // Compressed as a whole, from a file and from a stream.
    run("gzip", &["-k", text(&docker)]);
    let packed = space.path().join("docker.tar.gz");
    check(&LayoutReader::open(&packed, space.path()).unwrap(), None);
    check(&LayoutReader::open_stream("-", File::open(&packed).unwrap(), space.path()).unwrap(), None);
}

#[test]
fn the_links_of_an_old_docker_save_are_followed() {
    let sample = sample(Compress::None);
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind, link: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    add("aa/layer.tar", tar::EntryType::Regular, "", &sample.layer.0);
    add("bb/layer.tar", tar::EntryType::Symlink, "../aa/layer.tar", b"");
    add("config.json", tar::EntryType::Regular, "", &sample.config.0);
    let list = br#"[{"Config":"config.json","RepoTags":null,"Layers":["bb/layer.tar"]}]"#;
    add("manifest.json", tar::EntryType::Regular, "", list);
    let bytes = builder.into_inner().unwrap();
    let space = tempfile::tempdir().unwrap();
    check(&LayoutReader::open_stream("-", &bytes[..], space.path()).unwrap(), None);
}

#[test]
fn tampered_and_missing_blobs_are_noticed() {
    let space = tempfile::tempdir().unwrap();
    let sample = sample(Compress::None);
    write_directory(&sample, space.path().join("l").as_path());
    let reader = LayoutReader::open(&space.path().join("l"), space.path()).unwrap();
    let blob = space.path().join("l").join(blob_path(&sample.layer.1.digest));
    let mut bytes = sample.layer.0.clone();
    bytes[600] ^= 1;
    for (content, said) in
        [(&bytes[..], "digest"), (&bytes[..700], "ends after 700"), (&[&bytes[..], b"x"].concat(), "longer")]
    {
        std::fs::write(&blob, content).unwrap();
        let error = io::copy(&mut reader.blob(&sample.layer.1).unwrap(), &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    std::fs::remove_file(&blob).unwrap();
    assert!(matches!(reader.blob(&sample.layer.1), Err(ReadBlobError::Missing { .. })));
}

#[test]
fn a_blob_that_is_not_what_it_should_be_is_not_written() {
    let space = tempfile::tempdir().unwrap();
    let layout = space.path().join("l");
    let writer = LayoutWriter::create(&layout).unwrap();
    let blob = Descriptor::of(media_type::OCI_LAYER, b"right");
    assert!(writer.add_blob(&blob, &mut &b"wrong"[..]).is_err());
    assert!(writer.add_blob(&blob, &mut &b"rig"[..]).is_err());
    assert!(!writer.has(&blob));
    assert_eq!(std::fs::read_dir(layout.join(BLOBS)).unwrap().count(), 0);
    // Until the index is there, there is no layout to be seen.
    assert!(LayoutReader::open(&layout, space.path()).is_err());
    let mut archive = ArchiveWriter::new(Cursor::new(Vec::new())).unwrap();
    let error = archive.add_blob(&blob, &mut &b"wrong"[..]).unwrap_err();
    assert!(matches!(error, WriteLayoutError::DigestMismatch { .. }), "{error}");
    let error = ArchiveWriter::new(Vec::new()).unwrap().add_blob(&blob, &mut &b"rig"[..]).unwrap_err();
    assert!(error.to_string().contains("5 bytes and has 3"), "{error}");
}

#[test]
fn a_layout_keeps_its_other_images_and_other_directories_are_left_alone() {
    let space = tempfile::tempdir().unwrap();
    let layout = space.path().join("l");
    let (mut one, two) = (sample(Compress::None), sample(Compress::GZIP));
    one.manifest.1.annotations.insert(REF_NAME.to_owned(), "first".to_owned());
    write_directory(&one, &layout);
    write_directory(&two, &layout);
    let reader = LayoutReader::open(&layout, space.path()).unwrap();
    check(&reader, Some("first"));
    check(&reader, Some(TAG));
    let error = reader.find(None).unwrap_err();
    assert!(matches!(error, OpenLayoutError::Ambiguous { .. }), "{error}");

    std::fs::write(space.path().join("precious"), "x").unwrap();
    let error = LayoutWriter::create(space.path()).unwrap_err();
    assert!(matches!(error, WriteLayoutError::NotALayout { .. }), "{error}");
}

#[test]
fn other_files_are_refused_by_what_they_lack() {
    let space = tempfile::tempdir().unwrap();
    let path = space.path().join("x");
    std::fs::write(&path, "no tar at all").unwrap();
    let open = |path: &Path| LayoutReader::open(path, space.path()).unwrap_err().to_string();
    assert!(open(&path).contains("no tar"), "{}", open(&path));
    let mut layer = Vec::new();
    write_layer(&mut layer);
    std::fs::write(&path, &layer).unwrap();
    assert!(open(&path).contains("manifest.json"), "{}", open(&path));
    assert!(open(space.path()).contains("oci-layout"), "{}", open(space.path()));
    assert!(open(Path::new("/no/such/file")).contains("/no/such/file"));
}
