#ifndef LONGWAVE_SERVER_HOST_MEMORY_H_
#define LONGWAVE_SERVER_HOST_MEMORY_H_

#include <cstdint>
#include <string>

namespace longwave {

// Bytes that this process could take now: what the machine has available, or what is left of the
// limit of its control group (version 2; a container's), whichever is less. 0 when neither can be
// read.
int64_t AvailableHostMemory();

// The same of files: `meminfo` as /proc/meminfo, `cgroup` a folder with memory.max and
// memory.current.
int64_t AvailableHostMemory(const std::string& meminfo, const std::string& cgroup);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_HOST_MEMORY_H_
