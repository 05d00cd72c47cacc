"""The modules that read NPUs, on nodes."""


def test_the_modules_tell_a_sick_npu_from_its_neighbours(site):
    site.run("node2", r"printf 'link_down_1\nnpu_health_0=Alarm\nip_1=10.20.9.9\n' >/etc/rehearsal/faults")
    try:
        status, output = site.play("molecule/site/read_npus.yml", "--check")
    finally:
        site.run("node2", "rm /etc/rehearsal/faults")
    assert status == 0, output
    assert ("node1: health OK OK, codes . links UP UP, addresses 10.20.0.1 10.20.0.2, configured 10.20.0.1 10.20.0.2." in output), output
    assert ("node2: health Alarm OK, codes 8C084E00. links UP DOWN, addresses 10.20.1.1 10.20.9.9, configured 10.20.1.1 10.20.1.2." in output), output
