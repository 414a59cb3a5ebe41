# find_package(onestep CONFIG) gives
#   onestep::shared    the shared library, where it is installed
#   onestep::static    the static library, where it is installed, with what it needs of the system
#   onestep::onestep   the shared one; the static one where BUILD_SHARED_LIBS is set and off, or where there is no other
# The folder of this file is share/cmake/onestep: whoever moves the whole prefix breaks nothing.

get_filename_component(_onestep_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(_onestep_include "${_onestep_prefix}/include")

# The first of some files that this prefix has; "" for none.
function(_onestep_find variable)
    set(${variable} "" PARENT_SCOPE)
    foreach(folder lib lib64 "lib/${CMAKE_LIBRARY_ARCHITECTURE}" bin)
        foreach(name ${ARGN})
            if(EXISTS "${_onestep_prefix}/${folder}/${name}")
                set(${variable} "${_onestep_prefix}/${folder}/${name}" PARENT_SCOPE)
                return()
            endif()
        endforeach()
    endforeach()
endfunction()

# _onestep_system: what `rustc --print native-static-libs` says that the static library needs.
if(WIN32)
    _onestep_find(_onestep_shared onestep.dll)
    _onestep_find(_onestep_import onestep.dll.lib libonestep.dll.a)
    _onestep_find(_onestep_static onestep.lib libonestep.a)
    set(_onestep_system kernel32 ntdll userenv ws2_32 dbghelp)
elseif(APPLE)
    _onestep_find(_onestep_shared libonestep.dylib)
    _onestep_find(_onestep_static libonestep.a)
    set(_onestep_system iconv System c m)
else()
    _onestep_find(_onestep_shared libonestep.so)
    _onestep_find(_onestep_static libonestep.a)
    set(_onestep_system gcc_s util rt pthread m dl c)
    if(ANDROID)
        set(_onestep_system dl log unwind m c)
    endif()
endif()

if(_onestep_shared AND NOT TARGET onestep::shared)
    add_library(onestep::shared SHARED IMPORTED)
    set_target_properties(onestep::shared PROPERTIES
        IMPORTED_LOCATION "${_onestep_shared}"
        INTERFACE_INCLUDE_DIRECTORIES "${_onestep_include}")
    if(WIN32)
        set_target_properties(onestep::shared PROPERTIES IMPORTED_IMPLIB "${_onestep_import}")
    endif()
endif()

if(_onestep_static AND NOT TARGET onestep::static)
    add_library(onestep::static STATIC IMPORTED)
    set_target_properties(onestep::static PROPERTIES
        IMPORTED_LOCATION "${_onestep_static}"
        INTERFACE_INCLUDE_DIRECTORIES "${_onestep_include}"
        INTERFACE_LINK_LIBRARIES "${_onestep_system}")
endif()

if(NOT TARGET onestep::onestep)
    add_library(onestep::onestep INTERFACE IMPORTED)
    if(TARGET onestep::static AND (NOT TARGET onestep::shared OR (DEFINED BUILD_SHARED_LIBS AND NOT BUILD_SHARED_LIBS)))
        set_target_properties(onestep::onestep PROPERTIES INTERFACE_LINK_LIBRARIES onestep::static)
    elseif(TARGET onestep::shared)
        set_target_properties(onestep::onestep PROPERTIES INTERFACE_LINK_LIBRARIES onestep::shared)
    else()
        set(onestep_FOUND FALSE)
        set(onestep_NOT_FOUND_MESSAGE "no library of onestep in ${_onestep_prefix}")
    endif()
endif()
