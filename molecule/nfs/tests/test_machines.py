"""The machines themselves: a kernel of their own, and the others' on a network of their own."""


def test_a_machine_has_its_own_kernel_and_reaches_the_other(host):
    assert host.check_output("systemd-detect-virt") in ("qemu", "kvm")
    own = host.check_output("hostname")
    assert own in ("node1", "node2")
    network = host.check_output("ip -4 -o addr show").split("10.214.")[1].split(".")[0]
    for last in (11, 12):
        with host.sudo():
            host.run_expect([0], f"ping -c 1 -W 10 10.214.{network}.{last}")
