//! What becomes of files that are no plugins, and of components that misbehave.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kiln_core::seams::{FileInfo, HostError, TreeView};
use kiln_core::{Cancel, Digest, Plan, Platform, Request};
use kiln_plugin::{
    Capability, DeriveError, Failure, FrontendChoice, Host, Limits, LoadError, PlanError, PluginError,
    Refusal,
};
use support::nothing::Nothing;
use support::{ANSWER, Extra, Frontend, TEXT, answer};
use tempfile::TempDir;
use wasm_encoder::{BlockType, Instruction, ValType};

struct Room {
    dir: TempDir,
    host: Host,
}

impl Room {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let host = Host::new(&[], &dir.path().join("cache"));
        Self { dir, host }
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let file = self.dir.path().join("it.wasm");
        fs::write(&file, bytes).expect("a file");
        file
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        let file = self.file(bytes);
        self.host.add(None, &file)
    }

    fn plan(&self, cancel: &Cancel) -> Result<Plan, PlanError> {
        let frontend = FrontendChoice::Named("test-frontend".to_owned());
        self.host.plan(&frontend, &Request::default(), &Nothing::default(), cancel)
    }

    /// What comes of a component when it is asked to build.
    fn build(frontend: &Frontend<'_>) -> PluginError {
        Self::build_within(frontend, Limits::default())
    }

    fn build_within(frontend: &Frontend<'_>, limits: Limits) -> PluginError {
        let mut room = Self::new();
        room.host.set_limits(limits);
        room.add(&frontend.component()).expect("a plugin");
        match room.plan(&Cancel::default()) {
            Err(PlanError::Plugin(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

/// Why a file is not taken.
fn refusal(bytes: &[u8]) -> Refusal {
    match Room::new().add(bytes) {
        Err(LoadError::Refused { plugin, refusal }) => {
            assert!(plugin.name.ends_with("it.wasm"), "{plugin}");
            refusal
        }
        other => panic!("{other:?}"),
    }
}

const FOR_EVER: [Instruction<'static>; 4] =
    [Instruction::Loop(BlockType::Empty), Instruction::Br(0), Instruction::End, Instruction::Unreachable];

fn small() -> Limits {
    Limits { fuel: 50_000_000, ..Limits::default() }
}

#[test]
fn a_file_that_is_no_component_is_refused_with_the_reason() {
    assert!(matches!(refusal(b""), Refusal::NotWasm));
    assert!(matches!(refusal(b"this is no component"), Refusal::NotWasm));
    assert!(matches!(refusal(b"\0asm\x01\0\0\0"), Refusal::CoreModule));
    assert!(matches!(refusal(b"\x7fELF and so on"), Refusal::Precompiled));
    assert!(matches!(refusal(b"\n (component)"), Refusal::Text));
    assert!(matches!(refusal(b"\0asm\x0e\0\x01\0"), Refusal::UnknownKind { version: 14, layer: 1 }));
    assert!(matches!(refusal(b"\0asm\x0d\0\x01\0"), Refusal::NoHook { .. }));
    let whole = Frontend::default().component();
    assert!(matches!(refusal(&whole[..whole.len() / 2]), Refusal::Compile(_)));
}

/// A component with one import or export of nothing, by name.
fn shell(section: u8, name: &str) -> Vec<u8> {
    let mut component = wasm_encoder::Component::new();
    let mut types = wasm_encoder::ComponentTypeSection::new();
    types.instance(&wasm_encoder::InstanceType::new());
    component.section(&types);
    let mut imports = wasm_encoder::ComponentImportSection::new();
    imports.import(name, wasm_encoder::ComponentTypeRef::Instance(0));
    component.section(&imports);
    if section == 1 {
        let mut exports = wasm_encoder::ComponentExportSection::new();
        exports.export("kiln:plugin/frontend@0.1.0", wasm_encoder::ComponentExportKind::Instance, 0, None);
        component.section(&exports);
    }
    component.finish()
}

#[test]
fn imports_that_cannot_be_had_are_refused_by_name() {
    match refusal(&shell(1, "wasi:cli/stdout@0.2.3")) {
        Refusal::Wasi { imports, .. } => assert_eq!(imports, ["wasi:cli/stdout@0.2.3"]),
        other => panic!("{other}"),
    }
    match refusal(&shell(1, "acme:tools/hammer@1.0.0")) {
        Refusal::UnknownImport { import } => assert_eq!(import, "acme:tools/hammer@1.0.0"),
        other => panic!("{other}"),
    }
    match refusal(&shell(1, "kiln:plugin/time-travel@0.1.9")) {
        Refusal::Newer { wanted, .. } => assert_eq!(wanted, "kiln:plugin/time-travel@0.1.9"),
        other => panic!("{other}"),
    }
    match refusal(&shell(1, "kiln:plugin/trees@0.2.0")) {
        Refusal::Contract { theirs, newer: true, .. } => assert_eq!(theirs, "0.2.0"),
        other => panic!("{other}"),
    }
    assert!(matches!(refusal(&shell(1, "kiln:plugin/types@0.1.0")), Refusal::NoDescribe));
    assert!(matches!(refusal(&shell(0, "kiln:plugin/types@0.1.0")), Refusal::NoHook { .. }));
}

#[test]
fn a_file_without_an_end_is_not_read_to_it() {
    let room = Room::new();
    let error = room.host.inspect(Path::new("/dev/zero")).expect_err("no plugin");
    assert!(matches!(error, LoadError::TooLarge { .. }), "{error}");
}

#[test]
fn what_needs_a_grant_is_refused_without_and_taken_with_it() {
    let component = Frontend {
        imports: &["solver"],
        calls: &[("kiln:plugin/solver@0.1.0", "solve", &[ValType::I32; 5])],
        ..Frontend::default()
    }
    .component();
    let mut room = Room::new();
    match room.add(&component) {
        Err(LoadError::Refused { refusal: Refusal::NotGranted { capability, name }, .. }) => {
            assert_eq!((capability, &*name), (Capability::Solve, "test-frontend"));
        }
        other => panic!("{other:?}"),
    }
    room.host.grant("test-frontend", "solve:files".parse().expect("a grant"));
    room.add(&component).expect("a plugin that may solve");
    let summary = room.host.inspect(&room.file(&component)).expect("a summary");
    assert_eq!(summary.capabilities, ["solve"]);
    assert_eq!(summary.kinds, ["frontend"]);
    assert_eq!((&*summary.name, &*summary.version), ("test-frontend", "1.2.3"));
}

#[test]
fn a_name_can_be_given_and_not_twice() {
    let mut room = Room::new();
    let file = room.file(&Frontend::default().component());
    room.host.add(None, &file).expect("a plugin");
    room.host.add(None, &file).expect("the same again");
    room.host.add(Some("other"), &file).expect("under another name");
    let another = Frontend { text: "another", ..Frontend::default() }.component();
    assert!(matches!(
        room.add(&another),
        Err(LoadError::Refused { refusal: Refusal::NameTaken(name), .. }) if name == "test-frontend"
    ));
    let file = room.file(&another);
    assert!(matches!(
        room.host.add(Some("No Name"), &file),
        Err(LoadError::Refused { refusal: Refusal::Name(_), .. })
    ));
    let names: Vec<_> = room.host.plugins().expect("plugins").into_iter().map(|plugin| plugin.name).collect();
    assert_eq!(names, ["test-frontend", "other"]);
}

#[test]
fn a_frontend_that_is_not_there_is_named_with_those_that_are() {
    let mut room = Room::new();
    room.add(&Frontend::default().component()).expect("a plugin");
    let answer = room.host.plan(
        &FrontendChoice::Dockerfile,
        &Request::default(),
        &Nothing::default(),
        &Cancel::default(),
    );
    match answer {
        Err(error @ PlanError::UnknownFrontend { .. }) => {
            assert_eq!(error.to_string(), "no frontend is called `dockerfile`; there is `test-frontend`");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trap_names_plugin_digest_and_hook() {
    let error = Room::build(&Frontend::default());
    assert!(matches!(error.failure, Failure::Trap(_)));
    let text = error.to_string();
    assert!(text.starts_with("plugin test-frontend@1.2.3 (sha256:"), "{text}");
    assert!(text.contains("failed in build: it trapped: "), "{text}");
}

#[test]
fn last_words_are_quoted() {
    let error = Room::build(&Frontend {
        imports: &["progress"],
        calls: &[("kiln:plugin/progress@0.1.0", "crash", &[ValType::I32; 2])],
        text: "no such\x1b[31m thing\n",
        build: &[
            Instruction::I32Const(TEXT),
            Instruction::I32Const(19),
            Instruction::Call(0),
            Instruction::Unreachable,
        ],
        ..Frontend::default()
    });
    assert_eq!(error.failure, Failure::Crash("no such[31m thing".to_owned()));
}

#[test]
fn a_loop_is_stopped_by_the_budget_of_work() {
    let error = Room::build_within(&Frontend { build: &FOR_EVER, ..Frontend::default() }, small());
    assert_eq!(error.failure, Failure::Fuel { limit: small().fuel });
}

#[test]
fn a_loop_is_stopped_by_the_clock() {
    let time = Duration::from_millis(200);
    let limits = Limits { fuel: u64::MAX, time, ..Limits::default() };
    let began = Instant::now();
    let error = Room::build_within(&Frontend { build: &FOR_EVER, ..Frontend::default() }, limits);
    assert_eq!(error.failure, Failure::Time { limit: time });
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_loop_is_stopped_by_whoever_cancels() {
    let mut room = Room::new();
    room.host.set_limits(Limits { fuel: u64::MAX, ..Limits::default() });
    room.add(&Frontend { build: &FOR_EVER, ..Frontend::default() }.component()).expect("a plugin");
    let cancel = Cancel::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            cancel.raise(1);
        });
        assert!(matches!(room.plan(&cancel), Err(PlanError::Cancelled)));
    });
}

#[test]
fn memory_ends_at_its_limit() {
    let error = Room::build(&Frontend {
        build: &[
            Instruction::Loop(BlockType::Empty),
            Instruction::I32Const(64),
            Instruction::MemoryGrow(0),
            Instruction::I32Const(-1),
            Instruction::I32Ne,
            Instruction::BrIf(0),
            Instruction::End,
            Instruction::Unreachable,
        ],
        ..Frontend::default()
    });
    assert_eq!(error.failure, Failure::Memory { limit_bytes: 256 << 20 });
    assert!(error.to_string().ends_with("ran out of memory (limit 256 MiB)"), "{error}");
}

#[test]
fn recursion_without_an_end_is_told_as_that() {
    let error = Room::build(&Frontend {
        build: &[
            Instruction::LocalGet(0),
            Instruction::Call(1),
            Instruction::I32Const(1),
            Instruction::I32Add,
        ],
        ..Frontend::default()
    });
    assert_eq!(error.failure, Failure::Stack);
}

#[test]
fn an_answer_that_is_too_large_is_not_copied() {
    // Four million pairs as export options, at 12 MiB in memory and 16 bytes each.
    let mut build = vec![Instruction::I32Const(1500), Instruction::MemoryGrow(0), Instruction::Drop];
    build.extend(answer(&[0, 0, 0, 0, 0, 0, 0, 1 << 20, 4 << 20, 0, 0]));
    let error = Room::build(&Frontend { build: &build, ..Frontend::default() });
    assert_eq!(error.failure, Failure::TooMuch { limit_bytes: 64 << 20 });
}

#[test]
fn a_list_that_leaves_memory_is_an_error_and_no_more() {
    let build = answer(&[0, ANSWER, 50_000, 0, 0, 0, 0, 0, 0, 0, 0]);
    let error = Room::build(&Frontend { build: &build, ..Frontend::default() });
    assert!(matches!(error.failure, Failure::Trap(_)), "{error}");
}

#[test]
fn a_refusal_without_a_reason_is_the_fault_of_the_plugin() {
    let build = answer(&[1, 0, 0]);
    let error = Room::build(&Frontend { build: &build, ..Frontend::default() });
    assert_eq!(error.failure, Failure::Answer("it refused without naming an error".to_owned()));
}

#[test]
fn a_plan_of_nothing_is_a_plan() {
    let mut room = Room::new();
    let build = answer(&[0; 11]);
    room.add(&Frontend { build: &build, ..Frontend::default() }.component()).expect("a plugin");
    let plan = room.plan(&Cancel::default()).expect("a plan");
    assert_eq!(plan, Plan::default());
}

#[test]
fn nobody_answers_a_plugin_that_describes_itself() {
    let component = Frontend {
        imports: &["contexts"],
        calls: &[("kiln:plugin/contexts@0.1.0", "names", &[ValType::I32])],
        describe: &[Instruction::I32Const(ANSWER), Instruction::Call(0), Instruction::I32Const(64)],
        ..Frontend::default()
    }
    .component();
    match Room::new().add(&component) {
        Err(LoadError::Failed(error)) => {
            assert_eq!((&*error.hook, error.failure), ("describe", Failure::Uncalled));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn asking_without_an_end_is_stopped() {
    let build = [
        Instruction::Loop(BlockType::Empty),
        Instruction::I32Const(ANSWER),
        Instruction::Call(0),
        Instruction::Br(0),
        Instruction::End,
        Instruction::Unreachable,
    ];
    let error = Room::build(&Frontend {
        imports: &["contexts"],
        calls: &[("kiln:plugin/contexts@0.1.0", "names", &[ValType::I32])],
        build: &build,
        ..Frontend::default()
    });
    assert_eq!(error.failure, Failure::Calls(10_000));
}

fn cached(room: &Room) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for shelf in fs::read_dir(room.dir.path().join("cache")).expect("a cache").flatten() {
        for file in fs::read_dir(shelf.path()).expect("a shelf").flatten() {
            if file.path().extension().is_some_and(|extension| extension == "cwasm") {
                all.push(file.path());
            }
        }
    }
    all
}

fn inode(file: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&fs::metadata(file).expect("a file"))
}

#[test]
fn a_component_is_compiled_once_and_again_when_the_cache_is_damaged() {
    let room = Room::new();
    let component = Frontend { build: &answer(&[0; 11]), ..Frontend::default() }.component();
    let file = room.file(&component);
    room.host.inspect(&file).expect("a plugin");
    let [compiled] = &cached(&room)[..] else { panic!("{:?}", cached(&room)) };
    let first = inode(compiled);
    room.host.inspect(&file).expect("a plugin");
    assert_eq!(inode(compiled), first);
    let whole = fs::read(compiled).expect("code");
    let flipped = |at: usize| {
        let mut code = whole.clone();
        code[at] ^= 0x10;
        code
    };
    let middle = whole.len() / 2;
    let wrong_bits = [0, middle / 2, middle, middle + middle / 2, whole.len() - 1].map(flipped);
    let pieces = [&whole[..middle], b"", b"not code at all"].map(<[u8]>::to_vec);
    for damage in pieces.iter().chain(&wrong_bits) {
        fs::remove_file(compiled).expect("a file");
        fs::write(compiled, damage).expect("a file");
        room.host.inspect(&file).expect("a plugin, compiled again");
        assert!(fs::read(compiled).expect("code") == whole);
    }
}

#[test]
fn code_that_others_could_have_written_is_not_run() {
    let room = Room::new();
    let file = room.file(&Frontend::default().component());
    room.host.inspect(&file).expect("a plugin");
    let [compiled] = &cached(&room)[..] else { panic!("{:?}", cached(&room)) };
    fs::set_permissions(compiled, fs::Permissions::from_mode(0o666)).expect("permissions");
    room.host.inspect(&file).expect("a plugin, compiled again");
    // Another file, though perhaps with the number of the one that was deleted for it.
    assert_eq!(fs::metadata(compiled).expect("a file").permissions().mode() & 0o777, 0o600);
    let shelf = compiled.parent().expect("a shelf");
    fs::set_permissions(shelf, fs::Permissions::from_mode(0o777)).expect("permissions");
    fs::remove_file(compiled).expect("a file");
    room.host.inspect(&file).expect("a plugin without a cache");
    assert!(!compiled.exists());
}

#[test]
fn a_log_that_goes_on_and_on_is_cut() {
    // A counter at address 0; its end is a plan of nothing.
    let at = wasm_encoder::MemArg { offset: 0, align: 2, memory_index: 0 };
    let mut build = vec![
        Instruction::Loop(BlockType::Empty),
        Instruction::I32Const(2),
        Instruction::I32Const(TEXT),
        Instruction::I32Const(5),
        Instruction::Call(0),
        Instruction::I32Const(0),
        Instruction::I32Const(0),
        Instruction::I32Load(at),
        Instruction::I32Const(1),
        Instruction::I32Add,
        Instruction::I32Store(at),
        Instruction::I32Const(0),
        Instruction::I32Load(at),
        Instruction::I32Const(5_000),
        Instruction::I32LtS,
        Instruction::BrIf(0),
        Instruction::End,
    ];
    build.extend(answer(&[0; 11]));
    let component = Frontend {
        imports: &["progress"],
        calls: &[("kiln:plugin/progress@0.1.0", "log", &[ValType::I32; 3])],
        text: "again",
        build: &build,
        ..Frontend::default()
    };
    let mut room = Room::new();
    room.add(&component.component()).expect("a plugin");
    let frontend = FrontendChoice::Named("test-frontend".to_owned());
    let services = Nothing::default();
    room.host.plan(&frontend, &Request::default(), &services, &Cancel::default()).expect("a plan");
    let log = services.log.into_inner().expect("nobody panics here");
    assert_eq!(log.len(), 1_001);
    assert_eq!(log[0], "warn test-frontend: again");
    assert_eq!(log[1_000], "warn test-frontend: more of its log is suppressed");
}

/// A tree that nobody looks into.
struct Closed;

impl TreeView for Closed {
    fn read(&self, _: &str, _: u64, _: usize) -> Result<Vec<u8>, HostError> {
        Err(HostError::new("denied", "closed"))
    }

    fn stat(&self, _: &str) -> Result<FileInfo, HostError> {
        Err(HostError::new("denied", "closed"))
    }

    fn real_path(&self, _: &str) -> Result<String, HostError> {
        Err(HostError::new("denied", "closed"))
    }

    fn children(&self, _: &str) -> Result<Vec<FileInfo>, HostError> {
        Err(HostError::new("denied", "closed"))
    }

    fn glob(&self, _: &[String], _: usize) -> Result<Vec<FileInfo>, HostError> {
        Err(HostError::new("denied", "closed"))
    }

    fn hash(&self, _: &str) -> Result<String, HostError> {
        Err(HostError::new("denied", "closed"))
    }
}

/// Asks a component to derive from two trees, with `body` as its answer.
fn derive(body: &[Instruction<'_>]) -> DeriveError {
    let derive = Extra { interface: "derive", function: "derive", parameters: 4, body };
    let component = Frontend { extra: &[derive], ..Frontend::default() }.component();
    let mut room = Room::new();
    room.add(&component).expect("a plugin");
    let trees: Vec<Arc<dyn TreeView>> = vec![Arc::new(Closed), Arc::new(Closed)];
    let platform = Platform::new("linux", "amd64", "");
    room.host
        .derive(&Digest::of(&component), "task", trees, &platform, &Nothing::default(), &Cancel::default())
        .expect_err("no derivation")
}

#[test]
fn a_derivation_is_checked_and_its_failure_named() {
    match derive(&answer(&[0, 0, 0, 0, 0, 0, 0])) {
        DeriveError::Plugin(error) => {
            assert_eq!(error.hook, "derive");
            let why = "the root: it reads op 0, which does not come before it".to_owned();
            assert_eq!(error.failure, Failure::Answer(why));
        }
        other => panic!("{other:?}"),
    }
    // Two trees came: their number, shifted, is an address far outside of memory.
    let count = [Instruction::LocalGet(3), Instruction::I32Const(24), Instruction::I32Shl];
    assert!(matches!(derive(&count), DeriveError::Plugin(PluginError { failure: Failure::Trap(_), .. })));
}

#[test]
fn a_derivation_of_a_plugin_that_is_not_there_names_its_digest() {
    let digest = Digest::of(b"gone");
    let answer = Room::new().host.derive(
        &digest,
        "task",
        Vec::new(),
        &Platform::default(),
        &Nothing::default(),
        &Cancel::default(),
    );
    assert!(matches!(answer, Err(DeriveError::UnknownPlugin(named)) if named == digest));
}
