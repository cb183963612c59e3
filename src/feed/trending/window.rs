//! The windows of time whose trending lists nova keeps.

use crate::state::ranking::Ranking;

pub use crate::state::Window;

/// Returns the windows whose lists nova keeps.
pub fn kept(ranking: &Ranking) -> impl Iterator<Item = Window> + use<> {
    Window::ALL.into_iter().zip(ranking.trending.windows).filter_map(|(window, kept)| kept.then_some(window))
}

/// Returns the part of an error that names the windows which a caller may request.
pub fn one_of(kept: &[Window]) -> String {
    let names: Vec<_> = kept.iter().map(|window| window.name()).collect();
    match names.split_last() {
        Some((last, [])) => format!("expected {last}: trending.windows keeps no other"),
        Some((last, others)) if kept.len() == Window::ALL.len() => format!("expected {} or {last}", others.join(", ")),
        Some((last, others)) => format!("expected {} or {last}: trending.windows keeps no other", others.join(", ")),
        None => "expected none: trending.windows keeps none".to_owned(),
    }
}
