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
    *table, first, second = report_table(reports).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert {len(row) for row in rows} == {8}
    assert rows[2] == ["REDS4", "1", "2", "30.50", "0.8500", "", "", "RGB"]
    assert rows[3] == ["Vimeo-90K-T", "1", "1", "37.00", "0.9500", "31.00", "0.8700", "Y, centre frame"]
    assert first == f"REDS4: {reports[0].protocol_line}"
    assert "mean over clips of the mean over frames" in first
    assert second == f"Vimeo-90K-T: {reports[1].protocol_line}"


def test_sets_of_one_protocol_share_its_line():
    scores = [ClipScores("city", [0], dict(psnr=[27.0], ssim=[0.8]))]
    reports = [QualityReport(name, Protocol("Y", 8), scores) for name in ("Vid4", "UDM10")]
    *table, protocol = report_table(reports).splitlines()
    assert len(table) == 4
    assert table[2].endswith("| Y, border 8 |")
    assert protocol.startswith("Vid4, UDM10: Y channel (BT.601), 8 pixels cropped")


def test_without_a_baseline_the_table_has_no_column_for_it():
    report = QualityReport("Vid4", Protocol(), [ClipScores("city", [0], dict(psnr=[27.0], ssim=[0.8]))])
    assert "bicubic" not in report_table([report])
