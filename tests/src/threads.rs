//! What the threads of a process are doing, as the kernel says it.

/// Whether every thread of it has stopped, or is over. After a signal each stops by itself, a moment later.
pub(crate) fn have_stopped(pid: i32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    let mut states = tasks.flatten().filter_map(|task| {
        // One that has ended meanwhile does nothing any more.
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (_, after_its_name) = stat.rsplit_once(") ")?;
        after_its_name.chars().next()
    });
    states.all(|state| matches!(state, 'T' | 't' | 'Z' | 'X'))
}
