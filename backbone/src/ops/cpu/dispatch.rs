//! Compiles a loop for several instruction sets and picks one when it runs.

pub use pulp;
#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};
use pulp::{Arch, Scalar, WithSimd};

/// Runs an operation written for any vector width at the widest there is.
///
/// `#[inline(never)]` on the versions, because this is where the caller's instruction set ends and the
/// operation's begins: everything below must be `#[inline(always)]` to become part of it.
pub(crate) fn run<Op: WithSimd>(operation: Op) -> Op::Output {
    match Arch::new() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `V4` exists only where the processor has these instructions.
        Arch::V4(simd) => unsafe { run_v4(simd, operation) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above, for `V3`.
        Arch::V3(simd) => unsafe { run_v3(simd, operation) },
        #[cfg(target_arch = "x86_64")]
        _ => operation.with_simd(Scalar::new()),
        #[cfg(not(target_arch = "x86_64"))]
        arch => arch.dispatch(operation),
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
fn run_v4<Op: WithSimd>(simd: V4, operation: Op) -> Op::Output {
    operation.with_simd(simd)
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
fn run_v3<Op: WithSimd>(simd: V3, operation: Op) -> Op::Output {
    operation.with_simd(simd)
}

/// Makes a function whose loops the compiler may turn into the widest vectors there are.
///
/// Not `$crate::ops::cpu::dispatch::pulp::Arch::dispatch` with a closure: Rust compiles the closure's body for the oldest processors when it does
/// not inline it, and then a fused multiplication is a call. Everything that is called within must be
/// `#[inline(always)]`; that rules out `std::array::from_fn` with more than a sum in it.
#[doc(hidden)]
#[macro_export]
macro_rules! vectorised {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block) => {
        $(#[$meta])*
        $visibility fn $name($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn portable($($argument: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            #[inline(never)]
            #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2")]
            fn v4($($argument: $type),*) $(-> $output)? {
                portable($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[inline(never)]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2")]
            fn v3($($argument: $type),*) $(-> $output)? {
                portable($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            match $crate::ops::cpu::dispatch::pulp::Arch::new() {
                // SAFETY: a `V4` exists only where the processor has these instructions.
                $crate::ops::cpu::dispatch::pulp::Arch::V4(_) => return unsafe { v4($($argument),*) },
                // SAFETY: as above, for `V3`.
                $crate::ops::cpu::dispatch::pulp::Arch::V3(_) => return unsafe { v3($($argument),*) },
                _ => {}
            }
            portable($($argument),*)
        }
    };
}

pub use vectorised;
