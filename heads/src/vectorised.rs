//! Functions of plain loops, compiled once for each instruction set; which one runs is decided when it is called.

/// Makes a function whose loops the compiler may turn into the widest vectors there are.
///
/// Not `pulp::Arch::dispatch` with a closure: Rust compiles the closure's body for the oldest processors when it does
/// not inline it, and then a fused multiplication is a call. Everything that is called within must be
/// `#[inline(always)]`; that rules out `std::array::from_fn` with more than a sum in it.
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
            match pulp::Arch::new() {
                // SAFETY: a `V4` exists only where the processor has these instructions.
                pulp::Arch::V4(_) => return unsafe { v4($($argument),*) },
                // SAFETY: as above, for `V3`.
                pulp::Arch::V3(_) => return unsafe { v3($($argument),*) },
                _ => {}
            }
            portable($($argument),*)
        }
    };
}

pub(crate) use vectorised;
