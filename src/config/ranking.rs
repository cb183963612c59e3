//! The configuration keys for ranking: the keys of [`NUMBERS`], and the windows of trending.

use toml::Value;

use crate::feed::trending::Window;
use crate::state::ranking::{NUMBERS, Ranking};

use super::fields::Field;
use super::text::{list, texts};

/// Makes the configuration key for the number at index `AT` of [`NUMBERS`].
const fn number<const AT: usize>() -> Field {
    let number = &NUMBERS[AT];
    Field {
        section: number.section,
        key: number.key,
        help: number.help,
        set: |config, text| {
            (NUMBERS[AT].set)(&mut config.ranking, NUMBERS[AT].parse(text)?);
            Ok(())
        },
        get: |config| {
            let number = &NUMBERS[AT];
            let value = (number.get)(&config.ranking);
            match number.places {
                0 => Value::from(i64::from(value)),
                places => Value::from(f64::from(value) / f64::from(10u32.pow(places))),
            }
        },
    }
}

macro_rules! numbers {
    ($($at:literal)*) => {
        pub(super) const FIELDS: &[Field] = &[$(number::<$at>(),)* WINDOWS];
    };
}

numbers!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25);

const WINDOWS: Field = Field {
    section: "trending",
    key: "windows",
    help: "nova keeps a trending list for each of these windows: 1h, 6h, 24h, 7d. 24h is needed while feed.trending_max is above 0. The default is all four.",
    set: |config, text| {
        let names = list(text)?;
        let known = names.iter().all(|name| Window::from_name(name).is_some());
        if !known || names.is_empty() {
            return Err("expected one or several of 1h, 6h, 24h and 7d".to_owned());
        }
        config.ranking.trending.windows = Window::ALL.map(|window| names.iter().any(|name| name == window.name()));
        Ok(())
    },
    get: |config| texts(windows(&config.ranking)),
};

fn windows(ranking: &Ranking) -> impl Iterator<Item = String> {
    crate::feed::trending::kept(ranking).map(|window| window.name().to_owned())
}

/// Returns the problem of a combination of ranking parameters, if there is a problem.
pub(super) fn problems(ranking: &Ranking) -> Option<String> {
    let [_, _, day, _] = ranking.trending.windows;
    let needed = !day && ranking.feed.trending_max > 0;
    let text = "trending.windows: 24h is not among them, from which feeds take candidates; add it, or set feed.trending_max = 0";
    needed.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_number_is_a_key_and_no_key_stands_twice() {
        let mut names: Vec<_> = FIELDS.iter().map(|field| (field.section, field.key)).collect();
        for number in NUMBERS {
            assert!(names.contains(&(number.section, number.key)), "{}.{}", number.section, number.key);
        }
        assert_eq!(names.len(), NUMBERS.len() + 1);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIELDS.len());
    }

    #[test]
    fn what_is_no_window_and_what_leaves_feeds_without_trending_is_refused() {
        let set = |text: &str| {
            let mut config = Config::default();
            (WINDOWS.set)(&mut config, text).map(|()| config)
        };
        for wrong in ["", "2h", "[]", "1h, 24"] {
            assert!(set(wrong).is_err(), "{wrong}");
        }
        let mut config = set("7d, 1h").unwrap();
        assert_eq!(config.ranking.trending.windows, [true, false, false, true]);
        assert!(problems(&config.ranking).unwrap().starts_with("trending.windows: 24h is not among them"));
        config.ranking.feed.trending_max = 0;
        assert_eq!(problems(&config.ranking), None);
        assert_eq!(
            set(&(WINDOWS.get)(&config).to_string()),
            Ok(Config { ranking: Ranking { feed: Ranking::DEFAULT.feed, ..config.ranking }, ..Config::default() })
        );
    }
}
