#ifndef LONGWAVE_MODEL_ATTENTION_DEVICE_CACHE_H_
#define LONGWAVE_MODEL_ATTENTION_DEVICE_CACHE_H_

#include <map>
#include <memory>
#include <mutex>
#include <typeindex>
#include <utility>

namespace longwave::attention {

// What algorithms keep of one table on each device: made on first use, freed with the table.
// Thread-safe.
class DeviceCache {
 public:
  // The T of the device with this index; `make()` returns a std::shared_ptr<const T> when there is
  // none. Two threads that miss at the same time wait for one.
  template <typename T, typename Make>
  std::shared_ptr<const T> Get(int device, const Make& make) {
    const std::scoped_lock lock(mutex_);
    std::shared_ptr<const void>& entry = entries_[{std::type_index(typeid(T)), device}];
    if (entry == nullptr) entry = make();
    return std::static_pointer_cast<const T>(entry);
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<std::type_index, int>, std::shared_ptr<const void>> entries_;
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_DEVICE_CACHE_H_
