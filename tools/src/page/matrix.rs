//! What was taken for what: a table whose cells are the darker the more they hold.

use super::{Page, escaped};

/// Classes of a matrix that is shown whole.
const WHOLE: usize = 30;
/// Confusions that are listed of a larger one.
const LISTED: usize = 30;

/// Appends the matrix whose entry `count(truth, prediction)` is how often one was taken for the other.
pub(crate) fn confusion(page: &mut Page, names: &[String], count: &dyn Fn(usize, usize) -> u64) {
    let classes = 0..names.len();
    let total = |truth: usize| classes.clone().map(|prediction| count(truth, prediction)).sum::<u64>();
    if names.len() <= WHOLE {
        page.note("Rows are what it is, columns what it was taken for; percent of the row.");
        let mut html = String::from("<div class=\"wide\"><table><tr><th></th>");
        names.iter().for_each(|name| html.push_str(&format!("<th>{}</th>", escaped(name))));
        html.push_str("</tr>");
        for truth in classes.clone() {
            html.push_str(&format!("<tr><th>{}</th>", escaped(&names[truth])));
            let total = total(truth).max(1) as f64;
            for prediction in classes.clone() {
                let share = count(truth, prediction) as f64 / total;
                let text = if share == 0.0 { String::new() } else { format!("{:.1}", 100.0 * share) };
                html.push_str(&format!(
                    "<td style=\"background:rgba(var(--heat),{:.2})\" title=\"{}\">{text}</td>",
                    0.75 * share,
                    count(truth, prediction)
                ));
            }
            html.push_str("</tr>");
        }
        page.raw(&(html + "</table></div>"));
        return;
    }
    page.note("The most frequent confusions; percent of what it is.");
    let mut pairs: Vec<(u64, usize, usize)> = classes
        .clone()
        .flat_map(|truth| classes.clone().map(move |prediction| (truth, prediction)))
        .filter(|(truth, prediction)| truth != prediction)
        .map(|(truth, prediction)| (count(truth, prediction), truth, prediction))
        .filter(|(count, ..)| *count > 0)
        .collect();
    pairs.sort_by_key(|&(count, truth, prediction)| (std::cmp::Reverse(count), truth, prediction));
    let row = |(count, truth, prediction): &(u64, usize, usize)| {
        let share = 100.0 * *count as f64 / total(*truth).max(1) as f64;
        vec![names[*truth].clone(), names[*prediction].clone(), count.to_string(), format!("{share:.1}")]
    };
    let rows: Vec<Vec<String>> = pairs.iter().take(LISTED).map(row).collect();
    page.table(&["what it is", "taken for", "count", "percent"], &rows);
}
