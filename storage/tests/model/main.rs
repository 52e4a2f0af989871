//! The disk cache does what the model does.

mod steps;

use proptest::prelude::*;
use std::sync::Arc;
use steps::{run, steps};
use storage::{
    chunks::{ChunkCache, ChunkOptions, DiskChunks},
    fs::PowerCut,
};

async fn on_disk(taken: Vec<steps::Step>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Asks nothing of the real disk when it syncs, which makes this fast.
    let disk = PowerCut::new(folder.path()).expect("it can be read");
    let open = async || {
        let options = ChunkOptions {
            min_free_bytes: 0,
            kept_open: 1,
            ..ChunkOptions::default()
        };
        let opened = DiskChunks::open(Arc::new(disk.clone()), folder.path(), &options).await;
        Arc::new(opened.expect("the folder is free")) as Arc<dyn ChunkCache>
    };
    // A process that begins gives holds of its own.
    run(taken, open, false).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_disk_does_what_the_model_does(taken in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(on_disk(taken));
    }
}
