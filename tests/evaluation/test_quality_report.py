from vsr_plugin.evaluation import ClipScores, Protocol, QualityReport, report_table


def test_the_table_has_a_row_per_data_set():
    reports = [
        QualityReport("REDS4", Protocol("RGB"), [ClipScores("000", [0, 1], dict(psnr=[30.0, 31.0], ssim=[0.9, 0.8]))]),
        QualityReport(
            "Vimeo-90K-T",
            Protocol("Y"),
            [ClipScores("1", [3], dict(psnr=[37.0], ssim=[0.95], psnr_bicubic=[31.0], ssim_bicubic=[0.87]))],
            scored="centre",
        ),
    ]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report_table(reports).splitlines()]
    assert {len(row) for row in rows} == {8}
    assert rows[2][:7] == ["REDS4", "1", "2", "30.50", "0.8500", "", ""]
    assert rows[3][:7] == ["Vimeo-90K-T", "1", "1", "37.00", "0.9500", "31.00", "0.8700"]
    assert "mean over clips of the mean over frames" in rows[2][7]
    assert "centre frame" in rows[3][7]


def test_without_a_baseline_the_table_has_no_column_for_it():
    report = QualityReport("Vid4", Protocol(), [ClipScores("city", [0], dict(psnr=[27.0], ssim=[0.8]))])
    assert "bicubic" not in report_table([report])
