//! The system call filter of a step: Docker's default profile as a small program for the kernel.
//!
//! What is refused gets `EPERM`. Numbers the profile is too old to know get `ENOSYS`, so that a C library newer than
//! kiln falls back to older calls instead of failing; so does `clone3`, whose flags lie in memory where no filter
//! can read them. Programs for 32-bit x86 and arm run, under their own numbers. No call kills a process.
//!
//! One thing is refused beyond Docker's profile: pushing input into a terminal, which may be the one kiln runs in.

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use libc::{seccomp_data, sock_filter};

use crate::syscalls::{
    ARM_OWN, Abi, CLONE, CLONE3, HIGHEST_KNOWN, IOCTL, NONE, PERSONALITY, REFUSED, SOCKET, X32_OWN,
    X32_REFUSED,
};

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;
const AUDIT_ARCH_ARM: u32 = 0x4000_0028;
/// Set in the numbers of x32, which shares its architecture with x86-64.
const X32_BIT: u32 = 0x4000_0000;

/// Flags of `clone` that make namespaces: mount, cgroup, uts, ipc, user, pid, net.
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;
/// Linux, with 32-bit `uname` and fixed addresses or not; the last one only asks.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Kernel cryptography and host sockets: attack surface, and a way past the network namespace.
const SOCKET_FAMILIES_REFUSED: [u32; 2] = [38, 40];
const SOCKET_FAMILIES_KNOWN: u32 = 46;
/// `TIOCSTI` and `TIOCLINUX`, by which a program types into its terminal.
const IOCTLS_REFUSED: [u32; 2] = [0x5412, 0x541c];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    Refuse,
    Unknown,
    Clone,
    Personality,
    Socket,
    Ioctl,
}

/// For what this machine runs.
pub(crate) fn filter() -> Vec<sock_filter> {
    let (native, compatible) = if cfg!(target_arch = "aarch64") {
        ((AUDIT_ARCH_AARCH64, Abi::Aarch64), (AUDIT_ARCH_ARM, Abi::Arm))
    } else {
        ((AUDIT_ARCH_X86_64, Abi::X86_64), (AUDIT_ARCH_I386, Abi::X86))
    };
    let [native_body, compatible_body] = [native.1, compatible.1].map(body);
    let mut program = vec![load(ARCHITECTURE)];
    program.extend(when_equal(native.0, native_body));
    program.extend(when_equal(compatible.0, compatible_body));
    program.push(leave(Verdict::Unknown));
    program
}

fn body(abi: Abi) -> Vec<sock_filter> {
    let mut program = vec![load(NUMBER)];
    if abi == Abi::X86_64 {
        let native = decide(&ranges(abi, &[]));
        let own = (X32_OWN, &X32_REFUSED);
        let mut x32 = vec![statement(BPF_ALU | BPF_AND, !X32_BIT)];
        x32.extend(decide(&ranges_with(abi, &[own.0], own.1)));
        // Below the bit is x86-64; numbers above the bit's range do not exist and fall out of x32's ranges.
        program.extend(when_at_least(X32_BIT, x32, native));
    } else if abi == Abi::Arm {
        let own: Vec<(u32, u32)> = ARM_OWN.iter().map(|number| (*number, *number)).collect();
        program.extend(decide(&ranges(abi, &own)));
    } else {
        program.extend(decide(&ranges(abi, &[])));
    }
    program
}

fn ranges(abi: Abi, allowed_beyond: &[(u32, u32)]) -> Vec<(u32, Verdict)> {
    ranges_with(abi, allowed_beyond, &[])
}

/// Where each verdict begins, in order of numbers, the first at 0; neighbours differ.
fn ranges_with(abi: Abi, allowed_beyond: &[(u32, u32)], refused_beyond: &[u32]) -> Vec<(u32, Verdict)> {
    let column = abi as usize;
    let mut exceptions: Vec<(u32, Verdict)> = REFUSED
        .iter()
        .map(|(_, numbers)| (numbers[column], Verdict::Refuse))
        .chain(refused_beyond.iter().map(|number| (*number, Verdict::Refuse)))
        .chain([
            (CLONE[column], Verdict::Clone),
            (CLONE3[column], Verdict::Unknown),
            (PERSONALITY[column], Verdict::Personality),
            (SOCKET[column], Verdict::Socket),
            (IOCTL[column], Verdict::Ioctl),
        ])
        .filter(|(number, _)| *number != NONE)
        .collect();
    exceptions.sort_unstable_by_key(|(number, _)| *number);

    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    let mut push = |start: u32, verdict: Verdict| match ranges.last_mut() {
        Some(last) if last.0 == start => last.1 = verdict,
        Some(last) if last.1 == verdict => {}
        _ => ranges.push((start, verdict)),
    };
    let mut base = vec![(0, Verdict::Allow), (HIGHEST_KNOWN + 1, Verdict::Unknown)];
    for (first, last) in allowed_beyond {
        base.push((*first, Verdict::Allow));
        base.push((last + 1, Verdict::Unknown));
    }
    for (index, (start, verdict)) in base.iter().enumerate() {
        let end = base.get(index + 1).map_or(u32::MAX, |next| next.0);
        push(*start, *verdict);
        for (number, exception) in exceptions.iter().filter(|(number, _)| (*start..end).contains(number)) {
            push(*number, *exception);
            if number + 1 < end {
                push(number + 1, *verdict);
            }
        }
    }
    ranges
}

/// A binary search over ranges, with the number loaded. Every path ends in a return.
fn decide(ranges: &[(u32, Verdict)]) -> Vec<sock_filter> {
    match ranges {
        [] => vec![leave(Verdict::Unknown)],
        [(_, verdict)] => examine(*verdict),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            when_at_least(high[0].0, decide(high), decide(low))
        }
    }
}

/// Returns the verdict, after a look at the arguments where those decide.
fn examine(verdict: Verdict) -> Vec<sock_filter> {
    let among = |values: &[u32], found: Verdict, otherwise: Verdict| {
        let mut program = vec![leave(otherwise)];
        for value in values.iter().rev() {
            let mut test = when_equal(*value, vec![leave(found)]);
            test.append(&mut program);
            program = test;
        }
        program
    };
    let (argument, tests) = match verdict {
        Verdict::Allow | Verdict::Refuse | Verdict::Unknown => return vec![leave(verdict)],
        Verdict::Clone => {
            let mut tests = vec![statement(BPF_ALU | BPF_AND, NAMESPACE_FLAGS)];
            tests.extend(among(&[0], Verdict::Allow, Verdict::Refuse));
            (0, tests)
        }
        Verdict::Personality => (0, among(&PERSONALITIES, Verdict::Allow, Verdict::Refuse)),
        Verdict::Socket => (
            0,
            when_at_least(
                SOCKET_FAMILIES_KNOWN,
                vec![leave(Verdict::Refuse)],
                among(&SOCKET_FAMILIES_REFUSED, Verdict::Refuse, Verdict::Allow),
            ),
        ),
        Verdict::Ioctl => (1, among(&IOCTLS_REFUSED, Verdict::Refuse, Verdict::Allow)),
    };
    let mut program = vec![load(argument_offset(argument))];
    program.extend(tests);
    program
}

const ARCHITECTURE: u32 = std::mem::offset_of!(seccomp_data, arch) as u32;
const NUMBER: u32 = std::mem::offset_of!(seccomp_data, nr) as u32;

/// The low half of an argument: the kernel takes all of those looked at as 32-bit values.
fn argument_offset(index: u32) -> u32 {
    let low_half = if cfg!(target_endian = "big") { 4 } else { 0 };
    std::mem::offset_of!(seccomp_data, args) as u32 + 8 * index + low_half
}

fn statement(code: u32, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn leave(verdict: Verdict) -> sock_filter {
    let result = match verdict {
        Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        Verdict::Unknown => libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
        _ => libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
    };
    statement(BPF_RET | BPF_K, result)
}

/// `then` if the loaded value equals `value`, else what follows. `then` must end in a return.
fn when_equal(value: u32, then: Vec<sock_filter>) -> Vec<sock_filter> {
    branch(BPF_JEQ, value, then, Vec::new())
}

fn when_at_least(value: u32, then: Vec<sock_filter>, otherwise: Vec<sock_filter>) -> Vec<sock_filter> {
    branch(BPF_JGE, value, then, otherwise)
}

/// Conditional jumps reach 255 instructions, unconditional ones any number.
fn branch(test: u32, value: u32, then: Vec<sock_filter>, otherwise: Vec<sock_filter>) -> Vec<sock_filter> {
    let skip = then.len() as u32;
    let mut program = if let Ok(near) = u8::try_from(skip) {
        vec![sock_filter { jf: near, ..statement(BPF_JMP | test | BPF_K, value) }]
    } else {
        vec![
            sock_filter { jt: 1, ..statement(BPF_JMP | test | BPF_K, value) },
            statement(BPF_JMP | BPF_JA, skip),
        ]
    };
    program.extend(then);
    program.extend(otherwise);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    /// What the kernel would do with the program.
    fn run(program: &[sock_filter], arch: u32, number: u32, arguments: [u32; 2]) -> u32 {
        let (mut at, mut accumulator) = (0, 0u32);
        loop {
            let instruction = &program[at];
            at += 1;
            let code = u32::from(instruction.code);
            let jump = |taken: bool| usize::from(if taken { instruction.jt } else { instruction.jf });
            if code == BPF_LD | BPF_W | BPF_ABS {
                accumulator = match instruction.k {
                    0 => number,
                    4 => arch,
                    16 => arguments[0],
                    24 => arguments[1],
                    other => panic!("load from {other}"),
                };
            } else if code == BPF_ALU | BPF_AND {
                accumulator &= instruction.k;
            } else if code == BPF_JMP | BPF_JEQ {
                at += jump(accumulator == instruction.k);
            } else if code == BPF_JMP | BPF_JGE {
                at += jump(accumulator >= instruction.k);
            } else if code == BPF_JMP | BPF_JA {
                at += instruction.k as usize;
            } else if code == BPF_RET | BPF_K {
                return instruction.k;
            } else {
                panic!("instruction {code:#x}");
            }
        }
    }

    fn architectures() -> [(u32, Abi); 2] {
        if cfg!(target_arch = "aarch64") {
            [(AUDIT_ARCH_AARCH64, Abi::Aarch64), (AUDIT_ARCH_ARM, Abi::Arm)]
        } else {
            [(AUDIT_ARCH_X86_64, Abi::X86_64), (AUDIT_ARCH_I386, Abi::X86)]
        }
    }

    #[test]
    fn every_number_gets_the_verdict_of_the_table() {
        let program = filter();
        for (arch, abi) in architectures() {
            let column = abi as usize;
            for number in 0..1000 {
                let special = [CLONE, PERSONALITY, SOCKET, IOCTL].iter().any(|call| call[column] == number);
                let expected = if number > HIGHEST_KNOWN || number == CLONE3[column] {
                    ENOSYS
                } else if REFUSED.iter().any(|(_, numbers)| numbers[column] == number) {
                    EPERM
                } else {
                    ALLOW
                };
                if !special {
                    let result = run(&program, arch, number, [0, 0]);
                    assert_eq!(result, expected, "{abi:?} {number}");
                }
            }
            assert_eq!(run(&program, arch, 0x3fff_ffff, [0, 0]), ENOSYS);
        }
    }

    #[test]
    fn arguments_decide_where_they_matter() {
        let program = filter();
        for (arch, abi) in architectures() {
            let call = |call: [u32; 4], arguments| run(&program, arch, call[abi as usize], arguments);
            assert_eq!(call(CLONE, [17, 0]), ALLOW);
            assert_eq!(call(CLONE, [0x1000_0000 | 17, 0]), EPERM);
            assert_eq!(call(CLONE, [0x0002_0000, 0]), EPERM);
            assert_eq!(call(PERSONALITY, [0xffff_ffff, 0]), ALLOW);
            assert_eq!(call(PERSONALITY, [0x0004_0000, 0]), EPERM);
            for (family, expected) in [(1, ALLOW), (10, ALLOW), (38, EPERM), (40, EPERM), (99, EPERM)] {
                assert_eq!(call(SOCKET, [family, 0]), expected, "family {family}");
            }
            assert_eq!(call(IOCTL, [0, 0x5401]), ALLOW);
            assert_eq!(call(IOCTL, [0, 0x5412]), EPERM);
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn x32_programs_have_their_own_numbers() {
        let program = filter();
        let x32 = |number| run(&program, AUDIT_ARCH_X86_64, X32_BIT | number, [0, 0]);
        assert_eq!(x32(0), ALLOW);
        assert_eq!(x32(165), EPERM);
        assert_eq!(x32(520), ALLOW);
        assert_eq!(x32(528), EPERM);
        assert_eq!(x32(533), EPERM);
        assert_eq!(x32(534), ALLOW);
        assert_eq!(x32(548), ENOSYS);
        assert_eq!(run(&program, AUDIT_ARCH_X86_64, 520, [0, 0]), ENOSYS);
    }

    #[test]
    fn foreign_architectures_get_nothing_and_the_program_is_small() {
        let program = filter();
        assert_eq!(run(&program, 0xdead, 0, [0, 0]), ENOSYS);
        assert!(program.len() < 1000, "{} instructions", program.len());
    }
}
