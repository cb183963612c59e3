use proptest::prelude::*;

use super::*;

fn encoded(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Parses all commands of a stream that arrives in pieces of the given lengths. Returns the commands of the stream and
/// the syntax error at its end.
fn parsed(stream: &[u8], pieces: &[usize]) -> (Vec<Vec<Vec<u8>>>, Option<Malformed>) {
    let (mut parser, mut read, mut all, mut rest) = (Parser::default(), Vec::new(), Vec::new(), stream);
    let mut pieces = pieces.iter().copied().chain(std::iter::repeat(stream.len().max(1)));
    loop {
        match parser.next(&read, false) {
            Ok(Some(length)) => {
                all.push(parser.args(&read).from(0).map(<[u8]>::to_vec).collect());
                read.drain(..length);
                parser.clear();
            }
            Ok(None) if rest.is_empty() => return (all, None),
            Ok(None) => {
                assert!(parser.needed() == 0 || parser.needed() > read.len());
                let (piece, more) = rest.split_at(pieces.next().unwrap().min(rest.len()));
                read.extend_from_slice(piece);
                rest = more;
            }
            Err(wrong) => return (all, Some(wrong)),
        }
    }
}

fn commands() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let arg = proptest::collection::vec(any::<u8>(), 0..40);
    proptest::collection::vec(proptest::collection::vec(arg, 1..6), 0..6)
}

proptest! {
    #[test]
    fn what_was_sent_is_what_is_parsed_in_whatever_pieces(
        sent in commands(),
        pieces in proptest::collection::vec(1..9usize, 0..200),
    ) {
        let stream: Vec<u8> = sent.iter().flat_map(|args| encoded(args)).collect();
        prop_assert_eq!(parsed(&stream, &pieces), (sent, None));
    }

    #[test]
    fn whatever_comes_is_parsed_the_same_in_pieces_and_never_panics(
        stream in "[*$\\-0-9a\"'\\\\x \r\n]{0,60}",
        pieces in proptest::collection::vec(1..4usize, 0..60),
    ) {
        let whole = parsed(stream.as_bytes(), &[]);
        prop_assert_eq!(parsed(stream.as_bytes(), &pieces), whole);
    }

    #[test]
    fn numbers_are_those_that_are_written_as_redis_writes_them(value: i64, text in "[-+0-9 ]{0,22}") {
        prop_assert_eq!(number(value.to_string().as_bytes()), Some(value));
        let expected = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
        prop_assert_eq!(number(text.as_bytes()), expected);
    }
}

#[test]
fn lines_are_split_as_redis_splits_them() {
    let words = |line: &str| parsed(format!("{line}\r\n").as_bytes(), &[]).0.pop().unwrap();
    assert_eq!(words("  SET a\tb  "), [b"SET", &b"a"[..], b"b"]);
    assert_eq!(words(r#"SET "a b" 'c\'d'"#), [&b"SET"[..], b"a b", b"c'd"]);
    assert_eq!(words(r#"a "\x00\xfF\n\"\q" """#), [&b"a"[..], &[0, 255, b'\n', b'"', b'q'], b""]);
    assert_eq!(words(""), Vec::<Vec<u8>>::new());
    for line in ["\"a", "'a", "\"a\"b", "'a'b", "\"a\\"] {
        assert_eq!(parsed(format!("{line}\n").as_bytes(), &[]).1, Some(Malformed::Quotes), "{line}");
    }
}

#[test]
fn what_is_too_large_or_no_command_is_refused_before_it_is_there() {
    for (stream, wrong) in [
        ("*65537\r\n", Malformed::Count),
        ("*x\r\n", Malformed::Count),
        ("*1\r\n:1\r\n", Malformed::NoLength(':')),
        ("*1\r\n$-1\r\n", Malformed::Length),
        ("*1\r\n$8388608\r\n", Malformed::Length),
        ("*1\r\n$99999999999999999999\r\n", Malformed::Length),
    ] {
        assert_eq!(parsed(stream.as_bytes(), &[]), (vec![], Some(wrong)), "{stream}");
    }
    for (byte, wrong) in [("a", Malformed::LongLine), ("*", Malformed::LongCount), ("*1\r\n$", Malformed::LongLength)] {
        let stream = byte.to_owned() + &"1".repeat(LINE_MAX_BYTES + 9);
        assert_eq!(parsed(stream.as_bytes(), &[1; 9]).1, Some(wrong));
    }
    let strangers = |stream: &[u8]| Parser::default().next(stream, true);
    assert_eq!(strangers(b"*11\r\n"), Err(Malformed::StrangersCount));
    assert_eq!(strangers(b"*1\r\n$16385\r\n"), Err(Malformed::StrangersLength));
    assert_eq!(strangers(b"*-1\r\n"), Ok(Some(5)), "it says nothing");
}
