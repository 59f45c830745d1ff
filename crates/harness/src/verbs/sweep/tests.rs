use super::*;
use crate::record::load;
use mixcache_policies::data::Data;

/// Two clips, so that one group is still scored while the next begins.
const TINY: &str = r#"
title = "tiny"
model = { name = "wan-mini" }
video = { frames = 16, height = 64, width = 64 }
sampler = { kind = "unipc", steps = 4, shift = 3.0, guidance = 2.0, full_first = 1, full_last = 1 }
runs = { prompts = ["a star spins on red"], seeds = [7, 8], cache_budget_gib = 0.1, videos = 1 }

[[policy]]
kind = "step"
interval = [2, 3]
"#;

/// What a sweep leaves: rows without times, decisions, and the videos by name.
type Left = (Vec<RunRow>, Vec<crate::schema::EventRow>, Vec<(PathBuf, Vec<u8>)>);

fn swept(beside: bool) -> Left {
    let experiment = Experiment::parse("tiny", TINY, Data::default()).unwrap();
    let subject = Subject::load(&experiment).unwrap();
    let runner = Runner::new(&experiment, &subject);
    let root = tempfile::tempdir().unwrap();
    let mut recording = open(&experiment, root.path(), true).unwrap();
    let failures = record(&runner, &experiment, subject.fps, &mut recording, beside).unwrap();
    assert_eq!(failures, 0);
    let folder = recording.finish().unwrap();
    let (mut runs, events) = load(&folder).unwrap();
    for run in &mut runs {
        (run.denoise_s, run.looks_s, run.started_at) = (None, None, String::new());
    }
    let videos = std::fs::read_dir(folder.join("videos")).unwrap();
    let mut videos: Vec<_> = videos
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().into(), std::fs::read(&path).unwrap())
        })
        .collect();
    videos.sort();
    (runs, events, videos)
}

#[test]
fn scoring_beside_the_next_run_leaves_the_same_recording() {
    let (alone, beside) = (swept(false), swept(true));
    assert_eq!(alone.0.len(), 6);
    let measured = alone.0.iter().filter(|run| run.ssim.is_some() && run.lpips.is_some());
    assert_eq!(measured.count(), 4, "all but the uncached runs of two clips");
    assert_eq!(alone.2.len(), 3, "one seed of the prompt");
    assert!(alone == beside);
}
