//! The memory of this process: what tensors give back is kept for the next ones, and how much it was at most.

/// Has glibc keep the memory that is freed, instead of returning it to the system at once.
///
/// A training step allocates and frees gigabytes in maps of some megabytes. By default each of them is mapped anew,
/// and a page fault for every 4 KiB of it is a quarter of the step (`cvx-det info --bench`, README.md). What a process
/// takes at its peak grows by some percent, as what is free is in pieces. Elsewhere than on Linux with glibc, nothing
/// happens.
///
/// To be called before threads are started.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // Nothing is mapped by itself, and the heap never shrinks.
        // SAFETY: sets numbers of the allocator, which checks them; a refusal leaves it as it was.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        }
    }
}

/// The highest resident size of this process so far, or since [`forget_peak`], bytes; nothing where the system does not tell it in a file, as Linux
/// does.
pub fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// From now on [`peak_resident`] is that of what comes; where the system does not allow it, it stays that of all so far.
pub fn forget_peak() {
    // What is free goes back first, or it would count as taken.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: gives pages back that nothing lies in.
    unsafe {
        libc::malloc_trim(0);
    }
    // proc_pid_clear_refs(5): 5 resets the peak.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
