//! Pages: a stable list cut at an offset; the token binds the offset to the list it is of.

use super::api::{ApiError, Paging};

/// One page.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next_page_token: String,
    pub(super) total_size: usize,
}

/// Cuts one page out of `all`. `list` says which list this is: a token of another one is refused.
pub(super) fn page<T>(all: Vec<T>, list: &str, paging: &Paging) -> Result<Page<T>, ApiError> {
    let total_size = all.len();
    let start = match paging.page_token.as_deref() {
        None | Some("") => 0,
        Some(token) => offset(token, list).ok_or_else(|| {
            ApiError::invalid("INVALID_PAGE_TOKEN", "the page token is not valid")
        })?,
    };
    let size = if paging.page_size == 0 { total_size } else { paging.page_size };
    let end = start.saturating_add(size);
    let next_page_token =
        if end < total_size { format!("{end:08x}{}", print(list)) } else { String::new() };
    let items = all.into_iter().skip(start).take(size).collect();
    Ok(Page { items, next_page_token, total_size })
}

/// The `limit` of the two searches: 1 to 100, as text.
pub(super) fn limit(text: &str, page_token: Option<&String>) -> Result<Paging, ApiError> {
    match text.parse() {
        Ok(page_size @ 1..=100) => Ok(Paging { page_size, page_token: page_token.cloned() }),
        _ => Err(ApiError::invalid("INVALID_PARAMETER", "limit is needed, from 1 to 100")),
    }
}

fn print(list: &str) -> String {
    blake3::hash(list.as_bytes()).to_hex()[..12].to_owned()
}

fn offset(token: &str, list: &str) -> Option<usize> {
    let (offset, of) = token.split_at_checked(8)?;
    (of == print(list)).then(|| usize::from_str_radix(offset, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_to_the_end() {
        let mut paging = Paging { page_size: 2, page_token: None };
        let mut seen = Vec::new();
        loop {
            let page = page((0..5).collect(), "list", &paging).unwrap();
            assert_eq!(page.total_size, 5);
            seen.extend(page.items);
            if page.next_page_token.is_empty() {
                break;
            }
            paging.page_token = Some(page.next_page_token);
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        let paging = Paging { page_size: 1, page_token: None };
        let token = page(vec![1, 2], "one", &paging).unwrap().next_page_token;
        let paging = Paging { page_size: 1, page_token: Some(token) };
        assert!(page(vec![1, 2], "one", &paging).is_ok());
        assert!(page(vec![1, 2], "other", &paging).is_err());
    }

    #[test]
    fn a_limit_outside_1_to_100_is_refused() {
        assert!(limit("1", None).is_ok() && limit("100", None).is_ok());
        for wrong in ["", "0", "101", "-1", "ten"] {
            assert!(limit(wrong, None).is_err(), "{wrong}");
        }
    }
}
