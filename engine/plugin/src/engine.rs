//! The one way this program sets up wasmtime: what compiles ahead of time, what loads and what tests use is the same.
//!
//! Every setting is part of a compiled component's compatibility, so a second, slightly different configuration would
//! quietly make each cached and embedded component useless.

use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use crate::aot;
use wasmtime::{Config, Engine, WasmFeatures};

/// Native stack for guest code in one call. Guests keep their own stack in linear memory besides, which usually ends
/// first.
pub(crate) const STACK_BYTES: usize = 1 << 20;

/// With a target triple, for the baseline processor of that triple; without, for this machine.
fn config(target: Option<&str>) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    if let Some(triple) = target {
        config.target(triple)?;
    }
    // The same call gives the same answer on every machine: no payload of a NaN, no relaxed instruction and no thread
    // can tell machines apart.
    config.cranelift_nan_canonicalization(true);
    let closed = WasmFeatures::RELAXED_SIMD
        | WasmFeatures::THREADS
        | WasmFeatures::SHARED_EVERYTHING_THREADS
        | WasmFeatures::MEMORY64
        | WasmFeatures::GC
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::STACK_SWITCHING
        | WasmFeatures::CUSTOM_PAGE_SIZES
        | WasmFeatures::CM_ASYNC
        | WasmFeatures::CM_THREADING;
    config.wasm_features(closed, false);
    config.concurrency_support(false);
    // Fuel bounds work at the same instruction in every run; epochs serve cancellation and the clock.
    config.consume_fuel(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK_BYTES);
    // Debuggers and instruction offsets have no use for it, and it is written and registered at each load.
    config.native_unwind_info(false);
    config.generate_address_map(false);
    aot::configure(&mut config);
    Ok(config)
}

/// For this process. Made at first use.
///
/// # Errors
///
/// When this machine cannot run what wasmtime compiles.
pub(crate) fn engine() -> wasmtime::Result<&'static Engine> {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    if let Some(engine) = ENGINE.get() {
        return Ok(engine);
    }
    let engine = Engine::new(&config(None)?)?;
    Ok(ENGINE.get_or_init(|| engine))
}

/// Names what code compiled for this process fits: wasmtime's version, the processor and every setting.
pub(crate) fn compatibility(engine: &Engine) -> String {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// FNV-1a: the standard library's hasher may change with the compiler, and two builds of one kiln share a cache.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// A component could not be compiled.
#[derive(Debug, thiserror::Error)]
#[error("could not compile the component: {0}")]
pub struct CompileError(pub(crate) String);

impl CompileError {
    pub(crate) fn from_wasmtime(error: &wasmtime::Error) -> Self {
        Self(format!("{error:#}"))
    }
}

/// Compiles a component to native code that [`crate::Builtin::aot`] takes.
///
/// `target` is a Rust target triple, and the code then runs on every processor of that triple; without, it is for
/// this machine.
///
/// # Errors
///
/// When `wasm` is no component, or the target is not one that can be compiled for.
pub fn compile(wasm: &[u8], target: Option<&str>) -> Result<Vec<u8>, CompileError> {
    let compile = || Engine::new(&config(target)?)?.precompile_component(wasm);
    compile().map_err(|error| CompileError::from_wasmtime(&error))
}
