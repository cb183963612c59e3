//! Finds nova's commands in a text for a person, so that the console can show the commands separately and tests can run
//! them.

/// The names of nova's commands that work while a node is running.
const BESIDE_A_NODE: [&str; 9] = ["audit", "backup", "cdc", "check", "dlq", "dump", "explain", "postgres", "store"];

/// The text of a reason may tell a person to send a request. Such a request begins with this text.
const CURL: &str = "curl -X ";

/// Finds those commands of a text that a person can use while a node is running. A command extends from `nova` to the
/// first word that ends with a punctuation mark, or to a bracket.
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
    // A request to Kafka Connect is the last part of a reason, so the command is the rest of that line.
    let request = text.rfind(CURL).and_then(|at| text[at..].lines().next());
    found.extend(request.map(|request| request.trim_end().to_owned()));
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
        let paused = "somebody stopped it: curl -X PUT http://connect:8083/connectors/nova/resume";
        assert_eq!(of(paused), ["curl -X PUT http://connect:8083/connectors/nova/resume"]);
        let failed =
            "grant the right; then: curl -X POST 'http://connect:8083/connectors/nova/restart?includeTasks=true'";
        assert_eq!(of(failed), ["curl -X POST 'http://connect:8083/connectors/nova/restart?includeTasks=true'"]);
    }
}
