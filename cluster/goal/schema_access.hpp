#pragma once
// How a table of fields (goal_schema.hpp) reaches the members of the structs it describes. For the files that hold such a table.

#include "cluster/goal/goal_schema.hpp"

namespace flywheel::schema_access {

template <class M> struct member_traits;
template <class Owner, class Type> struct member_traits<Type Owner::*> {
  using owner = Owner;
  using type = Type;
};
template <auto M> auto& member(void* owner) {
  return static_cast<typename member_traits<decltype(M)>::owner*>(owner)->*M;
}
/// Of a field that is one value, or a list of values.
template <auto M> constexpr field_access leaf() {
  field_access a;
  a.leaf = [](void* owner) -> field_slot { return &member<M>(owner); };
  return a;
}
/// Of a field that is a mapping.
template <auto M> constexpr field_access sub() {
  field_access a;
  a.record = [](void* owner) -> void* { return &member<M>(owner); };
  return a;
}
/// Of a field that is a list of mappings.
template <auto M> constexpr field_access subs() {
  field_access a;
  a.size = [](void* owner) { return member<M>(owner).size(); };
  a.item = [](void* owner, std::size_t i) -> void* { return &member<M>(owner)[i]; };
  a.append = [](void* owner) -> void* { return &member<M>(owner).emplace_back(); };
  a.clear = [](void* owner) { member<M>(owner).clear(); };
  return a;
}
/// What a struct is when nothing is said; never changed.
template <class T> void* defaults() {
  static T value{};
  return &value;
}

} // namespace flywheel::schema_access
