//! Asks WebAssembly components and checks their answers.
