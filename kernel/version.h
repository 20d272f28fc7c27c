// The one place that says which version this is: the kernel prints it at boot, the host's tools with --version.
#pragma once

#define XV6_GLASS_VERSION "1.0.0"
