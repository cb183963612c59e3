use std::io::Write as _;

use super::*;

fn drain(source: &mut CaptureSource) -> Vec<Record> {
    let mut out = Vec::new();
    let limits = PollLimits { max_records: 3, ..PollLimits::default() };
    while source.poll(&limits, &mut out).unwrap() != Polled::End {}
    out
}

fn line(offset: i64) -> String {
    format!(r#"{{"topic":"t","partition":0,"offset":{offset},"timestamp_ms":5,"key":"k","value":null}}"#)
}

#[test]
fn plain_and_gzip_files_deliver_the_same_records() {
    let dir = tempfile::tempdir().unwrap();
    let text = (0..10).map(line).collect::<Vec<_>>().join("\n");
    let (plain, zipped) = (dir.path().join("a.jsonl"), dir.path().join("a.jsonl.gz"));
    std::fs::write(&plain, &text).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(File::create(&zipped).unwrap(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap();
    for path in [plain, zipped] {
        assert_eq!(schemas_path(&path), dir.path().join("a.schemas.json"));
        let records = drain(&mut CaptureSource::new(vec![path]).unwrap());
        assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        assert!(records.iter().all(|record| record.key.as_deref() == Some(b"k") && record.value.is_none()));
    }
}

#[test]
fn a_line_that_is_no_record_becomes_a_defect_with_its_line_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.jsonl");
    let late = line(1).replace(":5,", ":5.5,");
    let bad_base64 = r#"{"topic":"t","partition":0,"offset":2,"timestamp_ms":5,"value_b64":"*"}"#;
    let mut text = format!("{}\n\nnot json\n{late}\n{bad_base64}\n", line(0)).into_bytes();
    text.extend_from_slice(b"\xff\xfe\n");
    text.extend_from_slice(line(3).as_bytes());
    std::fs::write(&path, text).unwrap();
    let records = drain(&mut CaptureSource::new(vec![path]).unwrap());
    let defects: Vec<_> = records.iter().filter_map(|r| Some((r.offset, r.defect.as_ref()?.detail.clone()))).collect();
    assert_eq!(defects.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert!(defects[1].1.contains("line 4: timestamp_ms"), "{defects:?}");
    assert_eq!(records.last().map(|record| record.offset), Some(3));
}

#[test]
fn a_paused_partition_is_read_again_from_the_offset_of_its_resume() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.jsonl");
    std::fs::write(&path, (0..9).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let mut source = CaptureSource::new(vec![path]).unwrap();
    let limits = PollLimits { max_records: 4, ..PollLimits::default() };
    let mut out = Vec::new();
    source.poll(&limits, &mut out).unwrap();
    let name = TopicPartition::new("t", 0);
    source.pause(&name).unwrap();
    assert_eq!(drain(&mut source).len(), 0);
    source.resume(&name, 2).unwrap();
    assert_eq!(drain(&mut source).iter().map(|record| record.offset).collect::<Vec<_>>(), (2..9).collect::<Vec<_>>());
}
