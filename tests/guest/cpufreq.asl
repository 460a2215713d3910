// Gives the two processors of the test machine frequencies, so that acpi-cpufreq drives them: an emulated
// processor has none, and without _PSS and _PCT it has no governor that tests can set.
DefinitionBlock ("cpufreq.aml", "SSDT", 2, "HOSTTN", "CPUFREQ", 1)
{
    External (\_SB.CPUS.C000, DeviceObj)
    External (\_SB.CPUS.C001, DeviceObj)

    Scope (\_SB.CPUS.C000)
    {
        // Control and status: 16-bit I/O ports that no other device of the machine uses.
        Name (_PCT, Package () {
            ResourceTemplate () { Register (SystemIO, 16, 0, 0x0B00) },
            ResourceTemplate () { Register (SystemIO, 16, 0, 0x0B02) }
        })
        // MHz, mW, transition and bus-master latency in microseconds, control, status.
        Name (_PSS, Package () {
            Package () { 3600, 90000, 10, 10, 0x0000, 0x0000 },
            Package () { 3000, 70000, 10, 10, 0x0001, 0x0001 },
            Package () { 2000, 40000, 10, 10, 0x0002, 0x0002 },
            Package () {  800, 15000, 10, 10, 0x0003, 0x0003 }
        })
        Name (_PPC, 0)
        Name (_PSD, Package () { Package () { 5, 0, 0, 0xFC, 1 } })
    }

    Scope (\_SB.CPUS.C001)
    {
        Name (_PCT, Package () {
            ResourceTemplate () { Register (SystemIO, 16, 0, 0x0B00) },
            ResourceTemplate () { Register (SystemIO, 16, 0, 0x0B02) }
        })
        Name (_PSS, Package () {
            Package () { 3600, 90000, 10, 10, 0x0000, 0x0000 },
            Package () { 3000, 70000, 10, 10, 0x0001, 0x0001 },
            Package () { 2000, 40000, 10, 10, 0x0002, 0x0002 },
            Package () {  800, 15000, 10, 10, 0x0003, 0x0003 }
        })
        Name (_PPC, 0)
        Name (_PSD, Package () { Package () { 5, 0, 1, 0xFC, 1 } })
    }
}
