//! Finds the commands in a text for a person, so that they can be shown separately and run by tests.

/// The commands that work beside a running node.
const BESIDE_A_NODE: [&str; 9] = ["audit", "backup", "cdc", "check", "dlq", "dump", "explain", "postgres", "store"];

/// The commands in a text that work beside a running node. A command goes from `nova` to the first word that ends with
/// a punctuation mark, or to a bracket.
pub fn of(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (at, before) in text.match_indices("nova ") {
        if !text[..at].is_empty() && !text[..at].ends_with([' ', '(', '`']) {
            continue;
        }
        let mut words = Vec::new();
        let line = text[at + before.len()..].lines().next().unwrap_or_default();
        for word in line.split_whitespace() {
            let end = word.find(['(', '`']).unwrap_or(word.len());
            let bare = word[..end].trim_end_matches([';', ',', '.', ':', ')']);
            words.extend((!bare.is_empty()).then_some(bare));
            if bare.len() < word.len() {
                break;
            }
        }
        let command = format!("nova {}", words.join(" "));
        if words.first().is_some_and(|word| BESIDE_A_NODE.contains(word)) && !found.contains(&command) {
            found.push(command);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_end_where_the_sentence_does() {
        let text = "cdc.likes/0: truncate: the source truncated likes. To delete its rows here too: nova cdc resume likes \
                    --truncate apply; to keep them: nova cdc resume likes --truncate ignore";
        let two = ["nova cdc resume likes --truncate apply", "nova cdc resume likes --truncate ignore"];
        assert_eq!(of(text), two);
        assert_eq!(of("dead letters that wait: 3; nova dlq list"), ["nova dlq list"]);
        assert_eq!(of("replay or discard some (nova dlq list), then start nova again"), ["nova dlq list"]);
        assert_eq!(of("then a slot: nova cdc resnapshot (it drops the slot)"), ["nova cdc resnapshot"]);
        assert_eq!(of("stop nova, then: nova rebuild; nova reads on; stop nova cdc"), ["nova cdc"]);
    }
}
