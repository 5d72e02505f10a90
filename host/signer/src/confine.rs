//! What the signer gives up, first as a process, then, once it has its key, for good.
//!
//! The filter is a list of what stays allowed: memory, locks, the clock, randomness, reading the socket
//! and writing to it and to the log. Everything else answers EPERM, also what later kernels will have:
//! no file, no socket, no program, no new process or thread, no looking into others, no executable
//! memory. So all threads have to be there, and to have signed once, before it is closed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{DumpableBehavior, Signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::Error;

/// What a thread that computes needs of the system, and exiting.
const ALLOWED: [i64; 21] = [
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
];

/// Lets nobody look into this process, ties its life to its parent's, and closes what it inherited. To be
/// called before anything else of the process, while it has opened nothing.
pub(crate) fn begin() -> Result<(), Error> {
    let failed = |what: &'static str| move |e: rustix::io::Errno| Error::Confine(format!("{what}: {e}"));
    // No core files, no ptrace, no /proc/PID/mem or environ but for root.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("dumpable"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("no_new_privs"))?;
    // The socket's end tells as much; this is for a signer that is busy or stopped.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("death signal"))?;
    // A terminal or systemd sends these to the daemon's whole group. The daemon ends in its own time, and
    // needs its key until then.
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .map_err(|e| Error::Confine(format!("signals: {e}")))?;
    }
    close_inherited();
    rustix::process::chdir("/").map_err(failed("chdir"))
}

/// Closes the system to all threads of this process.
pub(crate) fn seal() -> Result<(), Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Confine(format!("seccomp: {e}"));
    let program = filter().map_err(|e| failed(&e))?;
    seccompiler::apply_filter_all_threads(&program).map_err(|e| failed(&e))
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let when = |argument, is, value| SeccompCondition::new(argument, Width::Dword, is, value);
    let rule = |condition| SeccompRule::new(vec![condition]);
    let own = u64::try_from(rustix::process::getpid().as_raw_nonzero().get()).unwrap_or(0);
    let execute = u64::from(libc::PROT_EXEC.unsigned_abs());
    let no_code = || rule(when(2, Is::MaskedEq(execute), 0)?);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.into_iter().map(|call| (call, vec![])).collect();
    rules.insert(libc::SYS_mmap, vec![no_code()?]);
    rules.insert(libc::SYS_mprotect, vec![no_code()?]);
    rules.insert(libc::SYS_read, vec![rule(when(0, Is::Eq, 0)?)?]);
    rules.insert(libc::SYS_write, vec![rule(when(0, Is::Le, 2)?)?]);
    // abort() signals itself.
    rules.insert(libc::SYS_tgkill, vec![rule(when(0, Is::Eq, own)?)?]);
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, refused, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// A daemon's descriptors are closed by exec. This is for those that the daemon itself inherited from a
/// careless parent. That it may not work on kernels before 5.9 is no matter: sealed, nothing but 0, 1 and
/// 2 can be used.
fn close_inherited() {
    // SAFETY: no object of this process owns a descriptor above 2: it has opened nothing yet.
    #[expect(
        unsafe_code,
        reason = "no library has it as a safe function, for it closes what it does not own"
    )]
    unsafe {
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32);
    }
}
