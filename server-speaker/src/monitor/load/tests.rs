use super::*;

fn told(command: &str, scale: f64) -> Told {
    let command = ["sh", "-c", command].map(str::to_owned).to_vec();
    Told { teller: Teller::Exec(command), scale, stale: Duration::from_secs(4) }
}

#[tokio::test]
async fn a_number_times_its_scale_is_the_utilisation() {
    for (command, scale, expected) in
        [("echo 0.73", 1.0, 0.73), ("echo ' 73 '", 0.01, 0.73), ("echo 0", 1.0, 0.0), ("echo 140", 0.01, 1.0)]
    {
        let said = told(command, scale).take().await.unwrap();
        assert_eq!((said.utilisation, said.health), (Some(expected), None), "{command}");
    }
}

#[tokio::test]
async fn what_is_no_utilisation_is_refused() {
    for text in ["NaN", "-0.1", "inf", "1e30", "73", "", "0.5 0.6", "0,5", "much"] {
        let result = told(&format!("echo '{text}'"), 1.0).take().await;
        assert!(result.is_err(), "{text}: {result:?}");
    }
}

#[tokio::test]
async fn a_file_is_read_anew_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("load");
    let mut told = Told { teller: Teller::File(path.clone()), scale: 0.5, stale: Duration::from_secs(60) };
    assert!(told.take().await.is_err());
    for (text, expected) in [("0.5\n", 0.25), ("1", 0.5)] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(told.take().await.unwrap().utilisation, Some(expected));
    }
}
