//! Components made for one test each: a frontend that describes itself well and then does what the test says.

pub(crate) mod nothing;

use std::path::Path;

use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, ImportSection, Instruction, MemorySection, MemoryType, Module, TypeSection, ValType,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where `describe` finds its answer, and `build` may put one.
pub(crate) const ANSWER: i32 = 1024;
/// Where text lies that a test wants in memory.
pub(crate) const TEXT: i32 = 512;

/// A frontend called `test-frontend`, version 1.2.3.
pub(crate) struct Frontend<'a> {
    /// What it imports besides types, such as `progress`.
    pub(crate) imports: &'a [&'a str],
    /// Functions that it calls, as (module, name, parameters): `call 0` is the first.
    pub(crate) calls: &'a [(&'a str, &'a str, &'a [ValType])],
    pub(crate) text: &'a str,
    pub(crate) describe: &'a [Instruction<'a>],
    pub(crate) build: &'a [Instruction<'a>],
    /// Functions of further interfaces.
    pub(crate) extra: &'a [Extra<'a>],
}

/// One exported function that takes words and returns one.
pub(crate) struct Extra<'a> {
    pub(crate) interface: &'a str,
    pub(crate) function: &'a str,
    pub(crate) parameters: usize,
    pub(crate) body: &'a [Instruction<'a>],
}

impl Default for Frontend<'_> {
    fn default() -> Self {
        Self {
            imports: &[],
            calls: &[],
            text: "",
            describe: &[Instruction::I32Const(64)],
            build: &[Instruction::Unreachable],
            extra: &[],
        }
    }
}

impl Frontend<'_> {
    pub(crate) fn component(&self) -> Vec<u8> {
        let imports: String =
            self.imports.iter().map(|name| format!("import kiln:plugin/{name}@0.1.0;")).collect();
        let exports: String =
            self.extra.iter().map(|extra| format!("export kiln:plugin/{}@0.1.0;", extra.interface)).collect();
        let world = format!(
            "package test:frontend; world it {{ {imports} export kiln:plugin/describe@0.1.0; \
             export kiln:plugin/frontend@0.1.0; {exports} }}"
        );
        let mut resolve = Resolve::default();
        resolve.push_dir(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit"))).expect("the contract");
        let package = resolve.push_str("world", &world).expect("a world");
        let world = resolve.select_world(&[package], None).expect("one world");
        let mut module = self.module();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
        let mut encoder = ComponentEncoder::default().module(&module).expect("a module").validate(true);
        encoder.encode().expect("a component")
    }

    fn module(&self) -> Vec<u8> {
        let mut types = TypeSection::new();
        types.ty().function([], [ValType::I32]);
        types.ty().function([ValType::I32], [ValType::I32]);
        types.ty().function([ValType::I32; 4], [ValType::I32]);
        let mut imports = ImportSection::new();
        for (module, name, parameters) in self.calls {
            let ty = types.len();
            types.ty().function(parameters.iter().copied(), []);
            imports.import(module, name, wasm_encoder::EntityType::Function(ty));
        }
        let first = self.calls.len() as u32;
        let mut functions = FunctionSection::new();
        functions.function(0).function(1).function(2);
        for extra in self.extra {
            functions.function(types.len());
            types.ty().function(vec![ValType::I32; extra.parameters], [ValType::I32]);
        }
        let mut memory = MemorySection::new();
        memory.memory(MemoryType {
            minimum: 2,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        // The end of what `cabi_realloc` has given away.
        let mut globals = GlobalSection::new();
        globals.global(
            GlobalType { val_type: ValType::I32, mutable: true, shared: false },
            &ConstExpr::i32_const(8192),
        );
        let mut exports = ExportSection::new();
        exports.export("kiln:plugin/describe@0.1.0#describe", ExportKind::Func, first);
        exports.export("kiln:plugin/frontend@0.1.0#build", ExportKind::Func, first + 1);
        exports.export("cabi_realloc", ExportKind::Func, first + 2);
        exports.export("memory", ExportKind::Memory, 0);
        for (extra, index) in self.extra.iter().zip(first + 3..) {
            let name = format!("kiln:plugin/{}@0.1.0#{}", extra.interface, extra.function);
            exports.export(&name, ExportKind::Func, index);
        }
        let mut code = CodeSection::new();
        let bodies = [self.describe, self.build, &REALLOC];
        for body in bodies.into_iter().chain(self.extra.iter().map(|extra| extra.body)) {
            let mut function = Function::new([]);
            for instruction in body {
                function.instruction(instruction);
            }
            function.instruction(&Instruction::End);
            code.function(&function);
        }
        let mut data = DataSection::new();
        data.active(0, &ConstExpr::i32_const(TEXT), self.text.bytes());
        data.active(0, &ConstExpr::i32_const(64), plugin_info());
        data.active(0, &ConstExpr::i32_const(128), *b"test-frontend1.2.3");
        let mut module = Module::new();
        module.section(&types);
        if !self.calls.is_empty() {
            module.section(&imports);
        }
        module
            .section(&functions)
            .section(&memory)
            .section(&globals)
            .section(&exports)
            .section(&code)
            .section(&data);
        module.finish()
    }
}

/// Gives the next bytes, and never takes any back. Parameters: old place, old size, alignment, new size.
const REALLOC: [Instruction<'static>; 12] = [
    Instruction::GlobalGet(0),
    Instruction::I32Const(7),
    Instruction::I32Add,
    Instruction::I32Const(-8),
    Instruction::I32And,
    Instruction::LocalTee(0),
    Instruction::LocalGet(3),
    Instruction::I32Add,
    Instruction::GlobalSet(0),
    Instruction::LocalGet(0),
    Instruction::Nop,
    Instruction::Nop,
];

/// Five strings, of which two are not empty, and three empty lists.
fn plugin_info() -> Vec<u8> {
    let words: [i32; 16] = [128, 13, 141, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Code that writes words from [`ANSWER`] on and leaves that address on the stack.
pub(crate) fn answer(words: &[i32]) -> Vec<Instruction<'static>> {
    let mut code = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let at = wasm_encoder::MemArg { offset: index as u64 * 4, align: 2, memory_index: 0 };
        code.extend([Instruction::I32Const(ANSWER), Instruction::I32Const(*word), Instruction::I32Store(at)]);
    }
    code.push(Instruction::I32Const(ANSWER));
    code
}
