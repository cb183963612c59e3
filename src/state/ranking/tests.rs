use super::*;

#[test]
fn every_number_is_read_as_it_is_written_and_refused_beyond_its_range() {
    for number in NUMBERS {
        let name = format!("{}.{}", number.section, number.key);
        let (least, most) = number.range;
        for value in [least, least + 1, (least + most) / 2, most - 1, most] {
            let mut ranking = Ranking::DEFAULT;
            (number.set)(&mut ranking, value);
            assert_eq!((number.get)(&ranking), value, "{name}");
            assert_eq!(number.parse(&number.text(value)), Ok(value), "{name}");
            let same = value == (number.get)(&Ranking::DEFAULT);
            assert_eq!(ranking.fingerprint() == Ranking::DEFAULT.fingerprint(), same, "{name}");
            assert_eq!(ranking == Ranking::DEFAULT, same, "{name}");
        }
        assert!(((least)..=most).contains(&(number.get)(&Ranking::DEFAULT)), "{name}");
        let beyond = number.text(most + 1);
        for wrong in [&beyond, "-1", "", "x", "NaN", "inf", "0.00001", "1e99"] {
            let error = number.parse(wrong).unwrap_err();
            assert!(error.starts_with(&format!("expected {} to {}", number.text(least), number.text(most))));
        }
        let default = number.text((number.get)(&Ranking::DEFAULT));
        let end = format!("The default is {default}, the range {} to {}.", number.text(least), number.text(most));
        assert!(number.help.ends_with(&end), "{name}");
    }
    for window in 0..4 {
        let mut ranking = Ranking::DEFAULT;
        ranking.trending.windows[window] = false;
        assert_ne!(ranking.fingerprint(), Ranking::DEFAULT.fingerprint());
    }
}
