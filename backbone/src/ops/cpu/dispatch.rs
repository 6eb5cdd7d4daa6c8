//! Compiles a loop for several instruction sets and picks one when it runs.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use pulp::Scalar;
#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};
use pulp::{Arch, WithSimd};

/// The vector instructions that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instructions {
    /// Those that every processor of this kind has.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 (F, BW, CD, DQ, VL).
    Avx512,
}

impl Instructions {
    /// The variable of the environment that names the widest instructions to use, for tests of the narrower kernels.
    pub const VARIABLE: &str = "CVX_INSTRUCTIONS";

    /// All of them by name, as in [`Self::VARIABLE`].
    pub const NAMES: [(&str, Self); 3] =
        [("portable", Self::Portable), ("avx2", Self::Avx2), ("avx512", Self::Avx512)];

    /// The widest that this processor has and [`Self::VARIABLE`] allows; a name that there is not allows all.
    pub fn widest() -> Self {
        static WIDEST: OnceLock<Instructions> = OnceLock::new();
        *WIDEST.get_or_init(|| {
            let present = match Arch::new() {
                #[cfg(target_arch = "x86_64")]
                Arch::V4(_) => Self::Avx512,
                #[cfg(target_arch = "x86_64")]
                Arch::V3(_) => Self::Avx2,
                _ => Self::Portable,
            };
            let asked = std::env::var(Self::VARIABLE).unwrap_or_default();
            let allowed = Self::NAMES.iter().find(|(name, _)| *name == asked);
            allowed.map_or(present, |(_, allowed)| present.min(*allowed))
        })
    }
}

/// Runs an operation written for any vector width at the widest there is.
///
/// `#[inline(never)]` on the versions, because this is where the caller's instruction set ends and the
/// operation's begins: everything below must be `#[inline(always)]` to become part of it.
pub(crate) fn run<Op: WithSimd>(operation: Op) -> Op::Output {
    #[cfg(target_arch = "x86_64")]
    match (Instructions::widest(), V4::try_new(), V3::try_new()) {
        // SAFETY: a `V4` exists only where the processor has these instructions.
        (Instructions::Avx512, Some(simd), _) => unsafe { run_v4(simd, operation) },
        // SAFETY: as above, for `V3`.
        (Instructions::Avx2, _, Some(simd)) => unsafe { run_v3(simd, operation) },
        _ => operation.with_simd(Scalar::new()),
    }
    #[cfg(not(target_arch = "x86_64"))]
    Arch::new().dispatch(operation)
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
/// Not `pulp::Arch::dispatch` with a closure: Rust compiles the closure's body for the oldest processors when it does
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
            match $crate::ops::cpu::dispatch::Instructions::widest() {
                // SAFETY: it is the widest only where the processor has these instructions.
                $crate::ops::cpu::dispatch::Instructions::Avx512 => return unsafe { v4($($argument),*) },
                // SAFETY: as above.
                $crate::ops::cpu::dispatch::Instructions::Avx2 => return unsafe { v3($($argument),*) },
                $crate::ops::cpu::dispatch::Instructions::Portable => {}
            }
            portable($($argument),*)
        }
    };
}

pub use vectorised;
