//! The run log and the Arrow contract: what goes in comes out, bit for bit, or a typed error says why not.

use std::fs;

use data::run_log::{RunLog, RunLogError};
use data::scored_batch::BatchError;
use data::{
    Author, Finish, KeptSets, Mask, Message, Prompt, Routing, ScoredGroup, ScoredSample, Selections, Status,
    Trajectory, Verdict, scored_batch, scored_groups,
};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Every bit pattern: infinities, negative zero, subnormals, and NaNs with their payloads.
fn any_f32() -> impl Strategy<Value = f32> {
    prop_oneof![any::<u32>().prop_map(f32::from_bits), Just(-0.0), Just(f32::NAN), -30.0f32..0.0]
}

fn any_f64() -> impl Strategy<Value = f64> {
    prop_oneof![any::<u64>().prop_map(f64::from_bits), Just(-0.0), 0.0..1.0]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has finite numbers", |f| f.is_finite()).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let object = vec((".{0,4}", inner.clone()), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect()));
        prop_oneof![vec(inner, 0..4).prop_map(Value::from), object]
    })
}

fn any_prompt() -> impl Strategy<Value = Prompt> {
    let message = (".{0,6}", ".{0,20}").prop_map(|(role, content)| Message::new(role, content));
    (".{0,10}", ".{0,5}", ".{0,5}", vec(message, 0..3), any_json(), proptest::option::of(".{0,9}"), any_json())
        .prop_map(|(id, domain, data_source, messages, ground_truth, answer, extra_info)| Prompt {
            id,
            domain,
            data_source,
            messages,
            ground_truth,
            answer,
            extra_info,
        })
}

fn any_verdict() -> impl Strategy<Value = (String, Verdict)> {
    let status = prop_oneof![Just(Status::Pass), Just(Status::Fail), Just(Status::Undecided), Just(Status::Error)];
    let metrics = proptest::collection::btree_map(".{0,4}", any_f64(), 0..3);
    let tags = proptest::collection::btree_map(".{0,4}", ".{0,9}", 0..3);
    (".{0,5}", ".{0,5}", status, proptest::option::of(any_f64()), ".{0,9}", metrics, tags).prop_map(
        |(name, id, status, reward, reason, metrics, tags)| {
            (name, Verdict { id, status, reward, reason, metrics, tags })
        },
    )
}

fn any_kept(completion: usize) -> impl Strategy<Value = KeptSets> {
    let rows = vec(vec(any::<u32>(), 0..4), completion);
    (any::<bool>(), rows).prop_map(|(full, rows)| {
        let mut kept = KeptSets::default();
        if !full {
            rows.iter().for_each(|row| kept.push(row));
        }
        kept
    })
}

fn any_selections(rows: usize) -> impl Strategy<Value = Option<Selections>> {
    let some = (0usize..4, 0usize..3).prop_flat_map(move |(top_k, layers)| {
        vec(vec(any::<i32>(), rows * top_k), layers).prop_map(move |layers| Selections { top_k, layers })
    });
    proptest::option::of(some)
}

fn any_routing(rows: usize) -> impl Strategy<Value = Option<Routing>> {
    let some = (0usize..4, 0usize..3).prop_flat_map(move |(top_k, layers)| {
        vec(vec(any::<u16>(), rows * top_k), layers).prop_map(move |layers| Routing { top_k, layers })
    });
    proptest::option::of(some)
}

fn any_trajectory() -> impl Strategy<Value = Trajectory> {
    (0usize..4, 0usize..6).prop_flat_map(|(prompt_len, completion)| {
        let n = prompt_len + completion;
        let author = prop_oneof![Just(Author::Prompt), Just(Author::Policy), Just(Author::Tool)];
        let finish = prop_oneof![Just(Finish::Stop), Just(Finish::Length)];
        let tokens = (vec(any::<u32>(), n), vec(author, n), any::<u32>(), finish);
        let replay = (vec(any_f32(), completion), vec(any::<u64>(), completion), any_kept(completion));
        let rows = n.saturating_sub(1);
        (tokens, replay, any_selections(rows), any_routing(rows)).prop_map(
            move |((tokens, authors, sample, finish), (logprobs, versions, kept), selections, routing)| {
                let prompt_id = String::new();
                Trajectory {
                    prompt_id,
                    sample,
                    tokens,
                    authors,
                    prompt_len,
                    logprobs,
                    versions,
                    kept,
                    selections,
                    routing,
                    finish,
                }
            },
        )
    })
}

fn any_sample() -> impl Strategy<Value = ScoredSample> {
    let mask = prop_oneof![Just(Mask::None), Just(Mask::VerifierError), Just(Mask::Undecided), Just(Mask::Overlong)];
    let reward = proptest::option::of(any_f64());
    (any_trajectory(), ".{0,20}", vec(any_verdict(), 0..3), reward, any_f32(), mask).prop_map(
        |(trajectory, text, verdicts, reward, advantage, mask)| ScoredSample {
            trajectory,
            text,
            verdicts,
            reward,
            advantage,
            mask,
        },
    )
}

fn any_groups() -> impl Strategy<Value = Vec<ScoredGroup>> {
    let group = (any_prompt(), any::<u64>(), vec(any_sample(), 1..4)).prop_map(|(prompt, version, mut samples)| {
        samples.iter_mut().for_each(|s| s.trajectory.prompt_id.clone_from(&prompt.id));
        ScoredGroup { prompt, version, samples }
    });
    vec(group, 0..5)
}

/// `Debug` shows every float so that it parses back, but all NaNs alike: their bits, and those of every other float,
/// stand beside it.
fn bits(groups: &[ScoredGroup]) -> (String, Vec<u32>, Vec<Option<u64>>) {
    let samples = || groups.iter().flat_map(|g| &g.samples);
    let singles = samples().flat_map(|s| s.trajectory.logprobs.iter().chain([&s.advantage])).map(|f| f.to_bits());
    let of_verdicts = |s: &ScoredSample| -> Vec<Option<f64>> {
        s.verdicts
            .iter()
            .flat_map(|(_, v)| v.metrics.values().map(|&m| Some(m)).chain([v.reward]))
            .chain([s.reward])
            .collect()
    };
    let doubles = samples().flat_map(of_verdicts).map(|f| f.map(f64::to_bits));
    (format!("{groups:?}"), singles.collect(), doubles.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn inv_6_groups_come_back_bit_for_bit(groups in any_groups()) {
        let batch = scored_batch(&groups).expect("a batch");
        prop_assert_eq!(bits(&scored_groups(&batch).expect("groups")), bits(&groups));
        let folder = tempfile::tempdir().expect("folder");
        let log = RunLog::open(folder.path()).expect("log");
        log.append("rl", 3, &groups).expect("appended");
        prop_assert_eq!(bits(&log.read("rl", 3).expect("read")), bits(&groups));
    }
}

fn group(id: &str, samples: u32) -> ScoredGroup {
    let sample = |n: u32| ScoredSample {
        trajectory: Trajectory {
            prompt_id: id.to_owned(),
            sample: n,
            tokens: vec![5, 6, 7],
            authors: vec![Author::Prompt, Author::Policy, Author::Policy],
            prompt_len: 1,
            logprobs: vec![-0.5, -1.25],
            versions: vec![2, 3],
            kept: KeptSets { offsets: vec![0, 1, 3], ids: vec![6, 7, 9] },
            selections: Some(Selections { top_k: 2, layers: vec![vec![0, -1, 0, 1]] }),
            routing: Some(Routing { top_k: 1, layers: vec![vec![3, 255], vec![0, 7]] }),
            finish: Finish::Stop,
        },
        text: "six seven".to_owned(),
        verdicts: vec![("math".to_owned(), Verdict::pass(id, "equal").metric("cpu_s", 0.5))],
        reward: Some(1.0),
        advantage: 0.5,
        mask: Mask::None,
    };
    ScoredGroup {
        prompt: Prompt {
            id: id.to_owned(),
            domain: "math".to_owned(),
            data_source: "made".to_owned(),
            messages: vec![Message::user("?")],
            ground_truth: json!("67"),
            answer: None,
            extra_info: json!({"b": 1, "a": 0.1}),
        },
        version: 3,
        samples: (0..samples).map(sample).collect(),
    }
}

fn log() -> (tempfile::TempDir, RunLog) {
    let folder = tempfile::tempdir().expect("folder");
    let log = RunLog::open(folder.path().join("log")).expect("log");
    (folder, log)
}

#[test]
fn inv_6_a_step_is_appended_once_and_never_changed() {
    let (_folder, log) = log();
    log.append("rl", 1, &[group("p", 1)]).expect("appended");
    let error = log.append("rl", 1, &[group("q", 1)]).expect_err("append-only");
    assert!(matches!(error, RunLogError::Exists { .. }), "{error:?}");
    assert_eq!(log.read("rl", 1).expect("read"), [group("p", 1)]);
}

#[test]
fn inv_6_the_order_of_groups_is_kept_over_many_batches() {
    let (_folder, log) = log();
    let groups: Vec<ScoredGroup> = (0..60).map(|i| group(&format!("p{}", (i * 37) % 50), 1 + i % 5)).collect();
    log.append("rl", 1, &groups).expect("appended");
    assert_eq!(log.read("rl", 1).expect("read"), groups);
}

#[test]
fn the_same_groups_give_the_same_bytes() {
    let bytes = || {
        let (_folder, log) = log();
        log.append("rl", 1, &[group("p", 4), group("q", 4)]).expect("appended");
        fs::read(log.path("rl", 1).expect("path")).expect("bytes")
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn steps_are_listed_by_stage_in_order() {
    let (_folder, log) = log();
    for (stage, step) in [("rl", 2), ("rl", 1_000_000), ("rl", 0), ("rl-math", 7)] {
        log.append(stage, step, &[]).expect("appended");
    }
    fs::write(log.folder().join(".rl-000005.parquet.1-0.temper-tmp"), b"half").expect("leftover");
    assert_eq!(log.steps("rl").expect("steps"), [0, 2, 1_000_000]);
    assert_eq!(log.steps("rl-math").expect("steps"), [7]);
    assert!(log.steps("sft").expect("steps").is_empty());
    assert!(matches!(log.append("../rl", 1, &[]), Err(RunLogError::StageName { .. })));
}

#[test]
fn a_torn_file_is_named_wherever_it_was_cut() {
    let (_folder, log) = log();
    log.append("rl", 1, &[group("p", 4)]).expect("appended");
    let path = log.path("rl", 1).expect("path");
    let whole = fs::read(&path).expect("bytes");
    for cut in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..cut]).expect("cut");
        let error = log.read("rl", 1).expect_err("torn");
        assert!(matches!(error, RunLogError::Torn { .. }), "cut at {cut}: {error:?}");
        assert!(error.to_string().contains("rl-000001.parquet"), "{error}");
    }
    assert!(matches!(log.read("rl", 2), Err(RunLogError::Missing { .. })));
}

/// Writes a batch under other metadata than the run log would.
fn write_foreign(log: &RunLog, metadata: &[(&str, &str)]) {
    let batch = scored_batch(&[group("p", 1)]).expect("batch");
    let pairs = metadata.iter().map(|(k, v)| KeyValue::new((*k).to_owned(), (*v).to_owned())).collect();
    let properties = WriterProperties::builder().set_key_value_metadata(Some(pairs)).build();
    let file = fs::File::create(log.path("rl", 1).expect("path")).expect("file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

#[test]
fn another_schema_version_or_another_step_is_refused() {
    let (_folder, log) = log();
    write_foreign(&log, &[("temper.schema", "1"), ("temper.stage", "rl"), ("temper.step", "1")]);
    let error = log.read("rl", 1).expect_err("version");
    assert!(matches!(&error, RunLogError::Version { found, .. } if found == "`1`"), "{error:?}");
    assert!(error.to_string().contains("rl-000001.parquet"), "{error}");
    write_foreign(&log, &[]);
    assert!(matches!(log.read("rl", 1), Err(RunLogError::Version { .. })));
    write_foreign(&log, &[("temper.schema", "2"), ("temper.stage", "rl"), ("temper.step", "9")]);
    assert!(matches!(log.read("rl", 1), Err(RunLogError::Misplaced { .. })));
    write_foreign(&log, &[("temper.schema", "2"), ("temper.stage", "rl"), ("temper.step", "1")]);
    assert_eq!(log.read("rl", 1).expect("the pairs of this step"), [group("p", 1)]);
}

#[test]
fn a_group_that_breaks_its_contract_is_refused_and_leaves_no_file() {
    let breaks: [fn(&mut ScoredGroup); 9] = [
        |g| g.samples.clear(),
        |g| g.samples[0].trajectory.prompt_id.push('x'),
        |g| g.samples[0].trajectory.authors.truncate(1),
        |g| g.samples[0].trajectory.prompt_len = 4,
        |g| g.samples[0].trajectory.logprobs.truncate(1),
        |g| g.samples[0].trajectory.versions.push(1),
        |g| g.samples[0].trajectory.kept.offsets[1] = 9,
        |g| g.samples[0].trajectory.selections.as_mut().expect("some").layers[0].truncate(1),
        |g| g.samples[0].trajectory.routing.as_mut().expect("some").layers[1].push(1),
    ];
    let (_folder, log) = log();
    for (i, break_it) in breaks.iter().enumerate() {
        let mut bad = group("p", 1);
        break_it(&mut bad);
        let error = log.append("rl", 1, &[group("ok", 2), bad]).expect_err("refused");
        assert!(matches!(error, RunLogError::Groups { .. }), "{i}: {error:?}");
        assert_eq!(fs::read_dir(log.folder()).expect("folder").count(), 0, "{i}");
    }
}

#[test]
fn a_batch_of_other_columns_is_refused_by_name() {
    let batch = scored_batch(&[group("p", 1)]).expect("batch");
    let without: Vec<usize> =
        (0..batch.num_columns()).filter(|&i| batch.schema().field(i).name() != "reward").collect();
    let error = scored_groups(&batch.project(&without).expect("projected")).expect_err("no reward");
    assert!(matches!(&error, BatchError::Column { column, .. } if column == "reward"), "{error:?}");
    let later = scored_batch(&[group("p", 1), group("q", 1)]).expect("batch").slice(1, 1);
    assert!(matches!(scored_groups(&later), Err(BatchError::Value { column: "group", row: 1, .. })));
}

/// A slice starts in the middle of its buffers; every offset must be taken from the slice.
#[test]
fn a_slice_of_a_batch_is_read_as_its_own_rows() {
    let groups = [group("p", 1), group("q", 3)];
    let batch = scored_batch(&groups).expect("batch");
    let mut first_two = groups.to_vec();
    first_two[1].samples.truncate(1);
    assert_eq!(scored_groups(&batch.slice(0, 2)).expect("groups"), first_two);
}

/// A bit that flips in any page is refused by the column's name, before it can become another number.
#[test]
fn inv_6_a_flipped_bit_never_changes_what_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = RunLog::open(dir.path()).expect("a log");
    let groups = vec![group("p", 2)];
    log.append("rl", 1, &groups).expect("it writes");
    let path = log.path("rl", 1).expect("a name");
    let whole = fs::read(&path).expect("it reads");
    let footer = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().expect("four bytes")) as usize;
    let (mut damaged, pages) = (0, whole.len() - 8 - footer);
    for at in 0..pages {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).expect("it writes");
        match log.read("rl", 1) {
            Err(error @ RunLogError::Damaged { .. }) => {
                damaged += 1;
                let text = error.to_string();
                assert!(text.contains("rl-000001.parquet is damaged: the pages of column `"), "{text}");
            }
            Err(error) => panic!("byte {at}: {error}"),
            // The magic at the start and the index of pages at the end: nothing is read from them.
            Ok(read) => assert_eq!(bits(&read), bits(&groups), "byte {at}"),
        }
    }
    assert!(2 * damaged > pages, "{damaged} of {pages}");
}
