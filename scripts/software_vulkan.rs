//! A Vulkan driver: SwiftShader, with one extension more, `VK_KHR_workgroup_memory_explicit_layout`.
//!
//! CubeCL 0.11.3 declares shared memory in two ways. Where the driver has that extension, as those of cards have, each
//! variable is a block. Where it has not, each is declared as a pointer to a pointer, which is no valid SPIR-V;
//! SwiftShader passes over every access, and matrix products are wrong without an error. SwiftShader does not list the
//! extension, but to it a block in shared memory is a structure like any other: told that the extension is there, CubeCL
//! emits what a card would get, and SwiftShader runs it. It warns about a capability and an extension that it does not know.
//!
//! `software_vulkan.sh` builds this with rustc alone and names SwiftShader's library in `SOFTWARE_VULKAN_DRIVER`.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::{Once, OnceLock};

const EXTENSION: &CStr = c"VK_KHR_workgroup_memory_explicit_layout";
/// `VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_WORKGROUP_MEMORY_EXPLICIT_LAYOUT_FEATURES_KHR`.
const FEATURES: i32 = 1_000_336_000;
const SUCCESS: i32 = 0;

/// Any function of Vulkan, as loaders pass them on.
type Function = Option<unsafe extern "C" fn()>;
type Lookup = unsafe extern "C" fn(*mut c_void, *const c_char) -> Function;
type GetFeatures = unsafe extern "C" fn(*mut c_void, *mut Link);
type Enumerate = unsafe extern "C" fn(*mut c_void, *const c_char, *mut u32, *mut ExtensionProperties) -> i32;
type CreateDevice = unsafe extern "C" fn(*mut c_void, *const DeviceCreateInfo, *const c_void, *mut *mut c_void) -> i32;

/// The head of every structure that can be chained.
#[repr(C)]
struct Link {
    kind: i32,
    next: *mut Link,
}

/// `VkPhysicalDeviceWorkgroupMemoryExplicitLayoutFeaturesKHR`.
#[repr(C)]
struct ExplicitLayoutFeatures {
    link: Link,
    /// The feature itself, its scalar block layout, and accesses of 8 and of 16 bits.
    flags: [u32; 4],
}

/// `VkExtensionProperties`.
#[repr(C)]
struct ExtensionProperties {
    name: [u8; 256],
    version: u32,
}

/// `VkDeviceCreateInfo`.
#[repr(C)]
struct DeviceCreateInfo {
    link: Link,
    flags: u32,
    queue_count: u32,
    queues: *const c_void,
    layer_count: u32,
    layers: *const c_void,
    extension_count: u32,
    extensions: *const *const c_char,
    features: *const c_void,
}

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn on_exit(handler: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    fn _exit(status: c_int) -> !;
}

static GET_FEATURES: OnceLock<GetFeatures> = OnceLock::new();
static ENUMERATE: OnceLock<Enumerate> = OnceLock::new();
static CREATE_DEVICE: OnceLock<CreateDevice> = OnceLock::new();

/// A symbol of SwiftShader; null where it has none of that name.
fn symbol(name: &CStr) -> *mut c_void {
    static LIBRARY: OnceLock<usize> = OnceLock::new();
    const RTLD_NOW: c_int = 2;
    let library = *LIBRARY.get_or_init(|| {
        let path = std::env::var("SOFTWARE_VULKAN_DRIVER").expect("SOFTWARE_VULKAN_DRIVER names SwiftShader's library");
        let path = CString::new(path).expect("a path holds no zero byte");
        // SAFETY: the path ends in a zero byte; a library that cannot be opened gives null.
        let library = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
        assert!(!library.is_null(), "cannot open {path:?}");
        library as usize
    });
    // SAFETY: the library stays open, and the name ends in a zero byte.
    unsafe { dlsym(library as *mut c_void, name.as_ptr()) }
}

/// SwiftShader's answer, with the extension's features switched on.
unsafe extern "C" fn get_features(device: *mut c_void, list: *mut Link) {
    let real = GET_FEATURES.get().expect("handed out after it was found");
    // SAFETY: the caller passes a chain that Vulkan defines; the kind of a link tells its layout.
    unsafe {
        real(device, list);
        let mut link = list;
        while !link.is_null() {
            if (*link).kind == FEATURES {
                (*link.cast::<ExplicitLayoutFeatures>()).flags = [1; 4];
            }
            link = (*link).next;
        }
    }
}

/// SwiftShader's list, and the extension at its end.
unsafe extern "C" fn enumerate(
    device: *mut c_void,
    layer: *const c_char,
    count: *mut u32,
    out: *mut ExtensionProperties,
) -> i32 {
    let real = ENUMERATE.get().expect("handed out after it was found");
    // SAFETY: `count` is what the caller has room for where `out` is given, and room for one is kept back.
    unsafe {
        if out.is_null() || !layer.is_null() || *count == 0 {
            let result = real(device, layer, count, out);
            *count += u32::from(out.is_null() && layer.is_null());
            return result;
        }
        *count -= 1;
        let result = real(device, layer, count, out);
        if result == SUCCESS {
            let mut extension = ExtensionProperties { name: [0; 256], version: 1 };
            extension.name[..EXTENSION.count_bytes()].copy_from_slice(EXTENSION.to_bytes());
            out.add(*count as usize).write(extension);
            *count += 1;
        }
        result
    }
}

/// Ends the process where it stands, with the status that it wanted.
///
/// SwiftShader's threads outlive the statics that they use: a process that leaves in the usual way, handler by handler, dies
/// of a segmentation fault every other time, after its work is done.
extern "C" fn leave(status: c_int, _: *mut c_void) {
    // SAFETY: what the process wrote was flushed before it began to leave.
    unsafe { _exit(status) }
}

/// A device without the extension, of which SwiftShader knows nothing.
unsafe extern "C" fn create_device(
    device: *mut c_void,
    info: *const DeviceCreateInfo,
    allocator: *const c_void,
    out: *mut *mut c_void,
) -> i32 {
    let real = CREATE_DEVICE.get().expect("handed out after it was found");
    // SAFETY: the caller passes what Vulkan defines. A copy of it is changed, and the chain by a link that is left out.
    unsafe {
        let mut info = info.read();
        let names = (0..info.extension_count as usize).map(|i| *info.extensions.add(i));
        let names: Vec<*const c_char> = names.filter(|&name| CStr::from_ptr(name) != EXTENSION).collect();
        info.extension_count = names.len() as u32;
        info.extensions = names.as_ptr();
        let mut place: *mut *mut Link = &mut info.link.next;
        while !(*place).is_null() {
            if (**place).kind == FEATURES {
                *place = (**place).next;
            } else {
                place = &mut (**place).next;
            }
        }
        let created = real(device, &info, allocator, out);
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            on_exit(leave, std::ptr::null_mut());
        });
        created
    }
}

/// The loader asks here for every function that is not one of a device.
#[unsafe(no_mangle)]
unsafe extern "C" fn vk_icdGetInstanceProcAddr(instance: *mut c_void, name: *const c_char) -> Function {
    // SAFETY: the symbol and the functions found by name have the types that Vulkan gives them.
    unsafe {
        let lookup: Lookup = std::mem::transmute(symbol(c"vk_icdGetInstanceProcAddr"));
        let found = lookup(instance, name)?;
        Some(match CStr::from_ptr(name).to_bytes() {
            b"vkGetPhysicalDeviceFeatures2" | b"vkGetPhysicalDeviceFeatures2KHR" => {
                GET_FEATURES.get_or_init(|| std::mem::transmute(found));
                std::mem::transmute(get_features as GetFeatures)
            }
            b"vkEnumerateDeviceExtensionProperties" => {
                ENUMERATE.get_or_init(|| std::mem::transmute(found));
                std::mem::transmute(enumerate as Enumerate)
            }
            b"vkCreateDevice" => {
                CREATE_DEVICE.get_or_init(|| std::mem::transmute(found));
                std::mem::transmute(create_device as CreateDevice)
            }
            _ => found,
        })
    }
}

/// Agrees with the loader on a version of their interface.
#[unsafe(no_mangle)]
unsafe extern "C" fn vk_icdNegotiateLoaderICDInterfaceVersion(version: *mut u32) -> i32 {
    type Negotiate = unsafe extern "C" fn(*mut u32) -> i32;
    // SAFETY: the loader defines the type.
    unsafe {
        let negotiate: Negotiate = std::mem::transmute(symbol(c"vk_icdNegotiateLoaderICDInterfaceVersion"));
        negotiate(version)
    }
}

/// Functions of physical devices that the loader does not know.
#[unsafe(no_mangle)]
unsafe extern "C" fn vk_icdGetPhysicalDeviceProcAddr(instance: *mut c_void, name: *const c_char) -> Function {
    // SAFETY: the loader defines the type; a driver may lack the function.
    unsafe {
        let lookup: Option<Lookup> = std::mem::transmute(symbol(c"vk_icdGetPhysicalDeviceProcAddr"));
        lookup.and_then(|lookup| lookup(instance, name))
    }
}
